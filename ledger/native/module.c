/* ledger._state_tree: the state tree for ledger/state.py, as ledger/state_tree.py specifies it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "tree.h"

typedef struct {
    PyObject_HEAD
    tree_node *root;
    size_t size; /* keys */
} Tree;

/* A walk in the order of the paths. */
typedef struct {
    PyObject_HEAD
    PyObject *tree; /* keeps the nodes */
    unsigned pending;
    const tree_node *stack[TREE_DEPTH + 1]; /* what is still to come, the next on top; at most one a level */
} Items;

typedef struct {
    PyTypeObject *items_type;
} module_state;

static PyObject *new_object(PyTypeObject *type)
{
    return ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
}

static void free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *bytes_of_hash(const uint8_t hash[SHA256_SIZE])
{
    return PyBytes_FromStringAndSize((const char *)hash, SHA256_SIZE);
}

static PyObject *key_of(const tree_leaf *leaf)
{
    return PyBytes_FromStringAndSize((const char *)leaf->bytes, leaf->node.key_size);
}

static PyObject *value_of(const tree_leaf *leaf)
{
    return PyBytes_FromStringAndSize((const char *)tree_value(leaf), (Py_ssize_t)leaf->value_size);
}

static int read_key(PyObject *object, const uint8_t **key, size_t *size)
{
    if (!PyBytes_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a key is bytes");
        return -1;
    }
    *key = (const uint8_t *)PyBytes_AsString(object);
    *size = (size_t)PyBytes_Size(object);
    if (*size > TREE_MAX_KEY) {
        PyErr_SetString(PyExc_OverflowError, "a key is shorter than 4 GiB");
        return -1;
    }
    return 0;
}

static int read_path(PyObject *object, const uint8_t **path)
{
    if (!PyBytes_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a path is bytes");
        return -1;
    }
    if (PyBytes_Size(object) != SHA256_SIZE) {
        PyErr_SetString(PyExc_ValueError, "a path is 32 bytes");
        return -1;
    }
    *path = (const uint8_t *)PyBytes_AsString(object);
    return 0;
}

/* --- changing ---------------------------------------------------------------------------------- */

static int add_pair(tree_batch *batch, PyObject *pair)
{
    if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "a change is a pair of key and value");
        return -1;
    }
    const uint8_t *key, *value = NULL;
    size_t key_size, value_size = 0;
    if (read_key(PyTuple_GetItem(pair, 0), &key, &key_size) < 0)
        return -1;
    PyObject *object = PyTuple_GetItem(pair, 1);
    if (PyBytes_Check(object)) {
        value = (const uint8_t *)PyBytes_AsString(object);
        value_size = (size_t)PyBytes_Size(object);
    } else if (object != Py_None) {
        PyErr_SetString(PyExc_TypeError, "a value is bytes, or None to delete");
        return -1;
    }
    if (!tree_batch_add(batch, key, key_size, value, value_size)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int read_batch(PyObject *pairs, tree_batch *batch)
{
    PyObject *iterator = PyObject_GetIter(pairs), *pair;
    if (!iterator)
        return -1;
    while ((pair = PyIter_Next(iterator))) {
        int failed = add_pair(batch, pair);
        Py_DECREF(pair);
        if (failed)
            break;
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : 0;
}

PyDoc_STRVAR(apply_doc, "apply($self, changes, /)\n--\n\n"
                        "The tree after the (key, value) pairs, where None deletes; the same object where nothing\n"
                        "changes. Of two changes to one key the later counts.");

static PyObject *apply(PyObject *object, PyObject *pairs)
{
    Tree *self = (Tree *)object;
    tree_batch batch = {0};
    if (read_batch(pairs, &batch) < 0) {
        tree_batch_clear(&batch);
        return NULL;
    }
    tree_node *root;
    ptrdiff_t growth;
    bool is_done;
    if (self->root)
        is_done = tree_update(self->root, &batch, &root, &growth);
    else {
        /* Nobody else knows these nodes, and a million of them take longer than other threads should wait. */
        Py_BEGIN_ALLOW_THREADS
        is_done = tree_update(NULL, &batch, &root, &growth);
        Py_END_ALLOW_THREADS
    }
    if (!is_done)
        return PyErr_NoMemory();
    if (root == self->root) {
        tree_release(root);
        return Py_NewRef(object);
    }
    Tree *changed = (Tree *)new_object(Py_TYPE(object));
    if (!changed) {
        tree_release(root);
        return NULL;
    }
    changed->root = root;
    changed->size = self->size + (size_t)growth;
    return (PyObject *)changed;
}

/* --- reading ----------------------------------------------------------------------------------- */

PyDoc_STRVAR(get_doc, "get($self, key, /)\n--\n\nThe value under the key, or None.");

static PyObject *get(PyObject *object, PyObject *key_object)
{
    const uint8_t *key;
    size_t size;
    if (read_key(key_object, &key, &size) < 0)
        return NULL;
    uint8_t path[SHA256_SIZE];
    tree_path_of(key, size, path);
    const tree_node *node = ((Tree *)object)->root;
    for (unsigned depth = 0; tree_is_branch(node); depth++)
        node = tree_child(node, tree_turn(path, depth));
    const tree_leaf *leaf = (const tree_leaf *)node;
    return leaf && tree_has_key(leaf, key, size) ? value_of(leaf) : Py_NewRef(Py_None);
}

/* (path, value hash) of a leaf at another path than this one, else None. */
static PyObject *describe_other(const tree_leaf *leaf, const uint8_t path[SHA256_SIZE])
{
    uint8_t own[SHA256_SIZE], value_hash[SHA256_SIZE];
    tree_path_of(leaf->bytes, leaf->node.key_size, own);
    if (memcmp(own, path, SHA256_SIZE) == 0)
        return Py_NewRef(Py_None);
    tree_value_hash_of(tree_value(leaf), leaf->value_size, value_hash);
    return Py_BuildValue("(y#y#)", own, (Py_ssize_t)SHA256_SIZE, value_hash, (Py_ssize_t)SHA256_SIZE);
}

PyDoc_STRVAR(prove_path_doc, "prove_path($self, path, /)\n--\n\n"
                             "The sibling hashes from the root down, and (path, value hash) of another path's leaf\n"
                             "that stands where this path's would, else None.");

static PyObject *prove_path(PyObject *object, PyObject *path_object)
{
    const uint8_t *path;
    if (read_path(path_object, &path) < 0)
        return NULL;
    static const uint8_t empty_hash[SHA256_SIZE];
    const uint8_t *hashes[TREE_DEPTH];
    const tree_node *node = ((Tree *)object)->root;
    unsigned depth = 0;
    for (; tree_is_branch(node); depth++) {
        int turn = tree_turn(path, depth);
        const tree_node *sibling = tree_child(node, !turn);
        hashes[depth] = sibling ? sibling->hash : empty_hash;
        node = tree_child(node, turn);
    }

    PyObject *siblings = PyTuple_New(depth), *other;
    for (unsigned i = 0; siblings && i < depth; i++) {
        PyObject *hash = bytes_of_hash(hashes[i]);
        if (!hash || PyTuple_SetItem(siblings, i, hash) < 0)
            Py_CLEAR(siblings);
    }
    if (!siblings)
        return NULL;
    other = node ? describe_other((const tree_leaf *)node, path) : Py_NewRef(Py_None);
    if (!other) {
        Py_DECREF(siblings);
        return NULL;
    }
    return Py_BuildValue("(NN)", siblings, other);
}

static PyObject *get_root(PyObject *object, void *Py_UNUSED(closure))
{
    static const uint8_t empty_hash[SHA256_SIZE];
    const tree_node *root = ((Tree *)object)->root;
    return bytes_of_hash(root ? root->hash : empty_hash);
}

static Py_ssize_t get_length(PyObject *object)
{
    return (Py_ssize_t)((Tree *)object)->size;
}

/* --- walking ----------------------------------------------------------------------------------- */

static void push(Items *walk, const tree_node *node)
{
    if (node)
        walk->stack[walk->pending++] = node;
}

static Items *new_walk(PyObject *tree)
{
    const module_state *state = PyType_GetModuleState(Py_TYPE(tree));
    Items *walk = state ? (Items *)new_object(state->items_type) : NULL;
    if (walk)
        walk->tree = Py_NewRef(tree);
    return walk;
}

static bool is_before(const tree_leaf *leaf, const uint8_t path[SHA256_SIZE])
{
    uint8_t own[SHA256_SIZE];
    tree_path_of(leaf->bytes, leaf->node.key_size, own);
    return memcmp(own, path, SHA256_SIZE) < 0;
}

PyDoc_STRVAR(items_doc, "items($self, /)\n--\n\nAn iterator over every (key, value), in the order of the keys' paths.");

static PyObject *items(PyObject *object, PyObject *Py_UNUSED(none))
{
    Items *walk = new_walk(object);
    if (walk)
        push(walk, ((Tree *)object)->root);
    return (PyObject *)walk;
}

PyDoc_STRVAR(items_from_doc, "items_from($self, path, /)\n--\n\n"
                             "An iterator over those of items() whose path is this one or a later one; what is before\n"
                             "it is not visited.");

static PyObject *items_from(PyObject *object, PyObject *path_object)
{
    const uint8_t *path;
    if (read_path(path_object, &path) < 0)
        return NULL;
    Items *walk = new_walk(object);
    if (!walk)
        return NULL;
    const tree_node *node = ((Tree *)object)->root;
    for (unsigned depth = 0; tree_is_branch(node); depth++) {
        int turn = tree_turn(path, depth);
        if (!turn)
            push(walk, tree_child(node, 1));
        node = tree_child(node, turn);
    }
    if (node && !is_before((const tree_leaf *)node, path))
        push(walk, node);
    return (PyObject *)walk;
}

static PyObject *next_item(PyObject *object)
{
    Items *walk = (Items *)object;
    while (walk->pending) {
        const tree_node *node = walk->stack[--walk->pending];
        if (!tree_is_branch(node)) {
            const tree_leaf *leaf = (const tree_leaf *)node;
            return Py_BuildValue("(NN)", key_of(leaf), value_of(leaf));
        }
        push(walk, tree_child(node, 1));
        push(walk, tree_child(node, 0));
    }
    return NULL;
}

static void free_items(PyObject *object)
{
    Py_XDECREF(((Items *)object)->tree);
    free_object(object);
}

/* --- the types and the module ------------------------------------------------------------------ */

static PyObject *new_tree(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {NULL};
    return PyArg_ParseTupleAndKeywords(arguments, keywords, ":Tree", names) ? new_object(type) : NULL;
}

static void free_tree(PyObject *object)
{
    tree_release(((Tree *)object)->root);
    free_object(object);
}

static PyMethodDef tree_methods[] = {
    {"apply", apply, METH_O, apply_doc},
    {"get", get, METH_O, get_doc},
    {"items", items, METH_NOARGS, items_doc},
    {"items_from", items_from, METH_O, items_from_doc},
    {"prove_path", prove_path, METH_O, prove_path_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef tree_attributes[] = {
    {"root", get_root, NULL, "The hash of all, 32 bytes.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot tree_slots[] = {
    {Py_tp_doc, "An immutable map from bytes to bytes; Tree() is empty."},
    {Py_tp_new, new_tree},
    {Py_tp_dealloc, free_tree},
    {Py_tp_methods, tree_methods},
    {Py_tp_getset, tree_attributes},
    {Py_sq_length, get_length},
    {0, NULL},
};

static PyType_Spec tree_spec = {
    .name = "ledger._state_tree.Tree",
    .basicsize = sizeof(Tree),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = tree_slots,
};

static PyType_Slot items_slots[] = {
    {Py_tp_dealloc, free_items},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, next_item},
    {0, NULL},
};

static PyType_Spec items_spec = {
    .name = "ledger._state_tree.Items",
    .basicsize = sizeof(Items),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = items_slots,
};

static int execute_module(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    PyObject *tree_type = PyType_FromModuleAndSpec(module, &tree_spec, NULL);
    int failed = PyModule_AddObjectRef(module, "Tree", tree_type);
    Py_XDECREF(tree_type);
    state->items_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &items_spec, NULL);
    if (failed || !state->items_type)
        return -1;
    return PyModule_AddStringConstant(module, "HASHING", tree_prepare());
}

static int visit_module(PyObject *module, visitproc visit, void *arg)
{
    Py_VISIT(((module_state *)PyModule_GetState(module))->items_type);
    return 0;
}

static int clear_module(PyObject *module)
{
    Py_CLEAR(((module_state *)PyModule_GetState(module))->items_type);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)execute_module},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ledger._state_tree",
    .m_doc = "The native state tree. HASHING: how this machine computes SHA-256.",
    .m_size = sizeof(module_state),
    .m_slots = module_slots,
    .m_traverse = visit_module,
    .m_clear = clear_module,
};

PyMODINIT_FUNC PyInit__state_tree(void)
{
    return PyModuleDef_Init(&definition);
}

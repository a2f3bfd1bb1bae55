/* consensus._seal: the native nonce search for consensus/seal.py, which checks the arguments. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "seal.h"

enum { MAX_PATHS = 8 };

/* Settled once, on import. */
static bool is_usable[MAX_PATHS];

static void load_words(uint32_t words[8], const unsigned char *bytes)
{
    for (int i = 0; i < 8; i++, bytes += 4)
        words[i] = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static const seal_path *find_path(const char *name)
{
    for (int i = 0; i < seal_path_count; i++)
        if (is_usable[i] && strcmp(seal_paths[i].name, name) == 0)
            return &seal_paths[i];
    PyErr_Format(PyExc_ValueError, "no usable path is named '%s'", name);
    return NULL;
}

PyDoc_STRVAR(search_doc, "search(path, root, target, first, last, stop, won, /)\n--\n\n"
                         "The smallest nonce in first .. last whose hash is at most the target, else None.\n\n"
                         "root and target are 32 bytes; stop and won are one-byte buffers or None, and either\n"
                         "ends the search when it becomes non-zero. Releases the GIL.");

static PyObject *search(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *path_name;
    Py_buffer root, target, stop, won;
    unsigned long long first, last;
    if (!PyArg_ParseTuple(args, "sy*y*KKz*z*:search", &path_name, &root, &target, &first, &last, &stop, &won))
        return NULL;

    PyObject *result = NULL;
    const seal_path *path = find_path(path_name);
    if (path && (root.len != 32 || target.len != 32 || first > last || (stop.buf && stop.len < 1) ||
                 (won.buf && won.len < 1)))
        PyErr_SetString(PyExc_ValueError, "root and target are 32 bytes, flags at least one, and first <= last");
    else if (path) {
        seal_job job = {.first = first, .last = last, .stop = stop.buf, .won = won.buf};
        load_words(job.root, root.buf);
        load_words(job.target, target.buf);
        uint64_t nonce;
        bool is_found;
        Py_BEGIN_ALLOW_THREADS
        is_found = seal_search(path, &job, &nonce);
        Py_END_ALLOW_THREADS
        result = is_found ? PyLong_FromUnsignedLongLong(nonce) : Py_NewRef(Py_None);
    }
    PyBuffer_Release(&root);
    PyBuffer_Release(&target);
    PyBuffer_Release(&stop);
    PyBuffer_Release(&won);
    return result;
}

static int add_names(PyObject *module, const char *attribute, const bool wanted[MAX_PATHS])
{
    PyObject *names = PyList_New(0);
    for (int i = 0; names && i < seal_path_count; i++) {
        PyObject *name = wanted[i] ? PyUnicode_FromString(seal_paths[i].name) : Py_NewRef(Py_None);
        if (!name || (wanted[i] && PyList_Append(names, name) < 0))
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    PyObject *fixed = names ? PyList_AsTuple(names) : NULL;
    int failed = PyModule_AddObjectRef(module, attribute, fixed);
    Py_XDECREF(names);
    Py_XDECREF(fixed);
    return failed;
}

static int execute_module(PyObject *module)
{
    bool is_broken[MAX_PATHS] = {false};
    for (int i = 0; i < seal_path_count; i++) {
        bool is_supported = seal_paths[i].is_supported();
        is_usable[i] = is_supported && seal_path_is_right(&seal_paths[i]);
        is_broken[i] = is_supported && !is_usable[i];
    }
    return add_names(module, "PATHS", is_usable) < 0 || add_names(module, "BROKEN_PATHS", is_broken) < 0 ? -1 : 0;
}

static PyMethodDef methods[] = {
    {"search", search, METH_VARARGS, search_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute_module},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "consensus._seal",
    .m_doc = "The native nonce search. PATHS: what this machine can use, fastest first. BROKEN_PATHS: what it should "
             "be able to use, but errs.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__seal(void)
{
    return PyModuleDef_Init(&definition);
}

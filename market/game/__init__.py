"""The market game of text 001: companies and bureaus that set prices, users who choose the cheaper kWh; hour by hour.

Owns the printed equations, the merit order that they leave open, and the search for prices that nobody can gain by
changing. Pure and in floats: nothing here enters a transaction but `target`, rounded. `hour`, `payoffs` and `target`
are plain Python, the rest takes numpy, an extra, so that import it where it is used. Start at `hour.py`, then
`merit_order.py`; decision 50 says why.
"""

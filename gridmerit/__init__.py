"""The program around the peer: all that a person types or reads.

Commands, the making and running of networks, players, the demonstration and the paper's report. Above `simulation`,
and imported by nothing below it.
"""

"""One decision in the words of each caller: how its question is read, and how the answer is said so that it hears it.

Everything here is pure. A caller that cannot be told that there is no decision hears what does the least harm: an
outage of ours, a service that nobody knows, or a token that is not known never rolls a healthy release back.
"""

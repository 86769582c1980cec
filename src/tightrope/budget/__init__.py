"""The maths of the error budget: windows, burn rates, statements, attribution, forecast."""

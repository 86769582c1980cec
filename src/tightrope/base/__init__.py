"""Words without a domain: time, units, errors, settings, HTTP."""

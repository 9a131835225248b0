"""A home of people: what is known of each, and what can be done with it. Command line and service are thin over it.

`Home` and `Person` come from the top: `from personalrm import Home`.
"""

"""The sandbox: invented traffic and invented networks, for the demo and the tests.

Not here yet: the services, emulated on loopback.
"""

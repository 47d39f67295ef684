"""A managed online endpoint of Azure, rehearsed on this machine.

An exported folder runs in a real Triton, behind a gateway that does what Azure's documents say of
theirs; `behaviours` lists it. From the top: `running` (what is called), `control` (the same from
another process), `gateway` and `exchange` (a request), `live_endpoint` and `live` (what is there at
the moment), `traffic`, `snapshot`, `settings` and `behaviours` (values).
"""

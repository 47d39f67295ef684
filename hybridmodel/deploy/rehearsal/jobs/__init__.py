"""The jobs of a rehearsed batch endpoint: submitted over HTTP, queued, and run by the batch driver.

`folder` reads what was exported, `requests` answers ``/jobs``, `queue` decides what runs when,
`live` is one job, `attempt` runs it in a process of its own, whose program is `program`.
"""

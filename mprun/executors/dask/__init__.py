"""The executor that runs attempts on the hosts of a dask cluster: the only user of `distributed`.

One run, from the engine to a task:

    engine    `executor`   the protocol of `executors.base`, over a socket pair
    bridge    `bridge`     a process with dask's client: hosts, placement, the run's logs and result files
    worker    `relay`      in dask's worker: passes bytes on, both ways, with acknowledgement
    agent     `agent`      a process on the host: a launcher, and what its attempts leave
    launcher               as on one machine
"""

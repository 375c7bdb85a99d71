import time
from cowrie_assets_tests.integration.test_limiter import *
def test_diag(slow_connection, slow_url, scaled, tmp_path):
    import subprocess
    askers = ask_with_four_processes(slow_url, services_at(scaled, tmp_path, {"spur": SCALED["spur"]}), 20.0)
    arr = scaled.ledger.arrivals("spur")
    rows = slow_connection.execute("SELECT key, extract(epoch FROM sent_at)::float, latency_ms FROM lookup_ledger WHERE service='spur'").fetchall()
    slots = {k: s for k, s, _ in rows}
    late = sorted((a.wall - slots[a.key]) for a in arr)
    n = len(late)
    print("load", open("/proc/loadavg").read())
    print("n", n, "late p50 %.3f p90 %.3f p99 %.3f max %.3f" % (late[n//2], late[int(n*.9)], late[int(n*.99)], late[-1]))
    print("over", [(round(a.at-arr[0].at,3), round(a.wall-slots[a.key],3)) for a in arr if a.over_limit], "max1s", scaled.ledger.max_in_window("spur",1.0), scaled.ledger.max_in_window("spur",1.02))
    print("late ones", [(round(a.at-arr[0].at,2), round(a.wall-slots[a.key],3)) for a in arr if a.wall-slots[a.key]>0.06])

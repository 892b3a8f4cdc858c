EXTRA_DIST += bench/RESULTS bench/accounts.py bench/bare.c bench/bounds bench/common.h bench/dribblers.py bench/floor.c bench/generators.sh \
    bench/load.py bench/metrics.sh bench/no_gro.c bench/overhead.sh bench/peer_ev.c bench/peer_uv.c bench/report.py bench/run bench/servers.py \
    bench/stage.py bench/storm.c bench/timestamps.sh

# BENCHFLAGS=--quick for a short run.
.PHONY: bench
bench: src/echod src/echo-probe
	$(PYTHON3) $(srcdir)/bench/run $(BENCHFLAGS) .
	$(PYTHON3) $(srcdir)/bench/bounds $(BENCHFLAGS) .

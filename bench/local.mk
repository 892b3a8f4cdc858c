EXTRA_DIST += bench/bare.c bench/common.h bench/dribblers.py bench/generators.sh bench/overhead.sh bench/timestamps.sh \
    bench/startup.py bench/run bench/accounts.py bench/report.py bench/floor.c bench/peer_ev.c bench/peer_uv.c

# BENCHFLAGS=--quick for a short run.
.PHONY: bench
bench: src/echod src/echo-probe
	$(PYTHON3) $(srcdir)/bench/run $(BENCHFLAGS) .

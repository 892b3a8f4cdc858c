# Where `make install` puts what the container needs; nothing where units are not installed.
check_DATA += tests/systemd/paths
tests/systemd/paths: Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	printf "%s='%s'\n" bindir '$(bindir)' sbindir '$(sbindir)' sysconfdir '$(sysconfdir)' \
	    sysusersdir '$(sysusersdir)' systemdsystemunitdir '$(systemdsystemunitdir)' >$@

# What is tried from inside, see there.
check_PROGRAMS += tests/systemd/escapes
tests_systemd_escapes_SOURCES = tests/systemd/escapes.c
tests_systemd_escapes_LDADD   = src/libechod.a $(libechod_libs)

dist_check_SCRIPTS += tests/systemd/exposure.sh tests/systemd/units.sh
TESTS += tests/systemd/exposure.sh tests/systemd/units.sh
EXTRA_DIST += tests/systemd/boot tests/systemd/container.sh tests/systemd/crash tests/systemd/inside
CLEANFILES += tests/systemd/paths

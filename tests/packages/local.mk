# They build packages and an image, install and run them, for minutes and as root.
package_tests = tests/packages/debian.sh tests/packages/oci.sh tests/packages/rpm.sh
more_tests += $(package_tests)
dist_check_SCRIPTS += $(package_tests)
EXTRA_DIST += tests/packages/inside

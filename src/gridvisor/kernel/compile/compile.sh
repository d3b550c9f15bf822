# Compiles the kernel of /config, in a Debian that is thrown away afterwards; leaves /out/vmlinux and /out/lib/modules.
# $1: how many compilers at once.
set -eu
cd /tmp
tar -xf /usr/src/linux-source-*.tar.xz
cd linux-source-*
make -s allnoconfig KCONFIG_ALLCONFIG=/config
# What something depends on may be missing, or have another name in a newer kernel.
missing=$(grep '^CONFIG_.*=' /config | grep -v '=n$' | grep -vxFf .config || :)
if [ "$missing" ]; then
    echo "This kernel does not take:" $missing >&2
    exit 1
fi
make -s -j"$1" vmlinux modules
make -s INSTALL_MOD_PATH=/out modules_install
strip -s -o /out/vmlinux vmlinux

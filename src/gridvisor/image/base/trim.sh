# What a guest under a monitor does not need at boot. Each line can be taken back in a guest with `systemctl unmask`.
# docs/explanation/guest-boot.md says what each costs.

# Hardware and firmware that a paravirtual guest has not got.
systemctl mask --quiet systemd-pstore.service systemd-random-seed.service systemd-modules-load.service \
    systemd-udev-load-credentials.service systemd-tmpfiles-setup-dev.service \
    modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
    dev-hugepages.mount tmp.mount run-lock.mount

# Done by the initramfs, or said on a kernel command line that no guest has.
systemctl mask --quiet systemd-remount-fs.service systemd-network-generator.service

# Housekeeping of a machine that lives for years.
systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
    e2scrub_all.timer e2scrub_reap.service systemd-networkd-persistent-storage.service systemd-networkd-wait-online.service

# Seats and virtual terminals: a guest has one console, which console-getty serves on any monitor.
systemctl mask --quiet systemd-logind.service systemd-hostnamed.socket systemd-sysext.socket systemd-creds.socket
systemctl enable --quiet systemd-networkd.service console-getty.service
systemctl disable --quiet getty@tty1.service
mkdir -p /etc/systemd/system-generators
for generator in debug getty gpt-auto hibernate-resume rc-local ssh system-update tpm2; do
    ln -s /dev/null "/etc/systemd/system-generators/systemd-$generator-generator"
done

# Marks of this one build: every guest gets its own keys and machine-id from its identity.
rm -rf /etc/ssh/ssh_host_* /var/log/journal /etc/fstab /var/lib/systemd/random-seed
rm -f /etc/update-motd.d/10-uname
: > /etc/machine-id
passwd --quiet --lock root

# Caches are fresh, so nothing need be rebuilt at the first boot (systemd-update-done.service(8)).
ldconfig
journalctl --update-catalog
touch /etc/.updated /var/.updated

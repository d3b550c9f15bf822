"""Which entry GRUB starts by default, as its menu says."""

from __future__ import annotations

import pytest

from gridvisor.app.prepare.menu import default_entry, dom0_memory

MENU = """\
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="DEFAULT"
fi
function savedefault {
  save_env saved_entry
}
menuentry 'Debian GNU/Linux' --class os $menuentry_id_option 'gnulinux-simple-1' {
\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
\tlinux\t/boot/vmlinuz-6.12 root=/dev/vda1 ro
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
\tmenuentry 'Debian GNU/Linux, with Linux 6.12' --class os $menuentry_id_option 'gnulinux-6.12-1' {
\t\tlinux\t/boot/vmlinuz-6.12
\t}
}
menuentry 'Debian GNU/Linux, with Xen hypervisor' --class xen $menuentry_id_option 'xen-gnulinux-simple-1' {
\tmultiboot2\t/boot/xen-4.20-amd64.gz placeholder dom0_mem=1G,max:1G dom0_mem=2G,max:2G ${xen_rm_opts}
\tmodule2\t/boot/vmlinuz-6.12 placeholder root=/dev/vda1
}
submenu 'It'\\''s Xen' $menuentry_id_option 'xen-advanced-1' {
\tmenuentry 'Xen 4.20' $menuentry_id_option 'xen-4.20-1' {
\t\tmultiboot2\t/boot/xen-4.20-amd64.gz placeholder noreboot
\t}
}
"""


@pytest.mark.parametrize(
    ("default", "id", "memory"),
    [
        ("0", "gnulinux-simple-1", None),
        ("2", "xen-gnulinux-simple-1", "2G,max:2G"),
        ("Debian GNU/Linux, with Xen hypervisor", "xen-gnulinux-simple-1", "2G,max:2G"),
        ("xen-gnulinux-simple-1", "xen-gnulinux-simple-1", "2G,max:2G"),
        ("gnulinux-advanced-1>gnulinux-6.12-1", "gnulinux-6.12-1", None),
        ("1", "gnulinux-6.12-1", None),
        ("It's Xen>0", "xen-4.20-1", None),
        ("xen-advanced-1", "xen-4.20-1", None),
    ],
)
def test_the_default_by_number_title_or_id(default: str, id: str, memory: str | None) -> None:
    entry = default_entry(MENU.replace("DEFAULT", default))
    assert entry is not None
    assert entry.id == id
    assert (entry.xen is not None) == id.startswith("xen-")
    assert dom0_memory(entry.xen or "") == memory


@pytest.mark.parametrize("default", ["${saved_entry}", "no such entry", "7", "1>9"])
def test_a_default_that_is_not_told_is_none(default: str) -> None:
    assert default_entry(MENU.replace("DEFAULT", default)) is None


def test_without_a_menu_there_is_no_default() -> None:
    assert default_entry("") is None

"""Where commands run: here, over ssh, and inside a namespace, a chroot or sudo on either."""

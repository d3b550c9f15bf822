# NFS before version 4, and what goes with it, is not used.
systemctl mask --quiet rpcbind.service rpcbind.socket rpc-statd.service rpc-statd-notify.service nfs-blkmap.service \
    nfs-idmapd.service nfsdcld.service systemd-binfmt.service run-rpc_pipefs.mount rpc_pipefs.target \
    auth-rpcgss-module.service rpc-gssd.service rpc-svcgssd.service

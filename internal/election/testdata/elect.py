"""Takes part in an election with the ConfigMapLock of the kubernetes package, and says whether it leads."""
import sys

from kubernetes import config
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

kubeconfig, namespace, name, identity = sys.argv[1:]
config.load_kube_config(config_file=kubeconfig)
leaderelection.LeaderElection(electionconfig.Config(
    ConfigMapLock(name, namespace, identity), lease_duration=4, renew_deadline=3, retry_period=1,
    onstarted_leading=lambda: print("leads", flush=True),
    onstopped_leading=lambda: print("stopped", flush=True),
)).run()

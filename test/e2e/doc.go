// Package e2e tests Leasehold on a real Kubernetes cluster: each way in which people handle a StatefulSet is one
// test, with clients that write all the while.
//
// The tests are behind the build tag e2e and run against the cluster that $KUBECONFIG names, in a namespace of
// their own: see "make e2e". At the end of each, nothing acknowledged may be lost, nothing applied twice, one
// replica leads, and every replica has the same data at the same revision.
//
//	E2E_IMAGE      the image to deploy; the nodes have it already (default leasehold:dev)
//	E2E_UPGRADE    another image, to upgrade to; without it that test is skipped
//	E2E_HOOK       a command that does to nodes what the Kubernetes API cannot; without it those tests are skipped:
//	               HOOK node cut|heal|pause|resume N    N is the number at the end of the node's name
//	               HOOK node-exec N CMD...              run CMD on that node: on its network, and among its processes
//	               HOOK apiserver stop|start
//	               HOOK volumes                         free the volumes of deleted claims, if nothing else does
//	E2E_SHELL      an image with a shell, for the workers of the examples; the nodes have it or can pull it (default busybox:1.37)
//	E2E_TABLE      a file to write the table of results to, as Markdown
//	E2E_DEPLOYED   a namespace in which Leasehold runs already: nothing is deployed, and nothing taken down
package e2e

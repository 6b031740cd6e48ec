// Package sabotage switches off, one at a time, the protections that the design rests on, so that it can be shown
// that the tests notice: a build with the tag sabotage_NAME has the constant of that name true. In every other build
// all of them are false, and cost nothing.
//
// Each constant is read in one place. The list of what has to notice which is test/controls, and "make controls" runs it.
package sabotage

const (
	// Chain sends a leader's batches without their condition on the head.
	Chain = which == "chain"
	// Journal has nobody look whether a write was applied before.
	Journal = which == "journal"
	// Prune has the records of the journal deleted whatever their age.
	Prune = which == "prune"
	// Release has the lock released without a look at whose it is.
	Release = which == "release"
	// Claim makes claims whatever has become of the leader record since it was read.
	Claim = which == "claim"
	// Token founds every cluster under the same token.
	Token = which == "token"
	// Read answers linearizable reads from the local member, without asking a majority.
	Read = which == "read"
	// Flag sets the atomic flag before, and whether or not, it is found under the mutex that the round goes on.
	Flag = which == "flag"
	// Fsync has etcd leave to the operating system when its log goes to the disk.
	Fsync = which == "fsync"
	// Stranger takes another client that holds the lock for one of the replicas.
	Stranger = which == "stranger"
	// Version writes the lock's object whatever has become of it since it was read.
	Version = which == "version"
)

package main

// A control is a protection that a build can do without, and the test that has to notice.
type control struct {
	// name is that of the protection: the tag sabotage_NAME switches it off.
	name    string
	promise string
	// pkg and test are the test, which is to pass in a normal build. Its name may have a case's after a slash.
	pkg, test string
	// says is what the test says, in part, where the promise is broken.
	says string
}

// controls has a control for each constant of the package sabotage.
var controls = []control{
	{
		name: "chain", promise: "A leader that was replaced writes nothing more",
		pkg: "./internal/store", test: "TestAFrozenLeadersTransactionArrivesAfterANewClaim",
		says: "a transaction of the old leader was applied after the new one's claim",
	},
	{
		name: "journal", promise: "A request that is sent again is applied once",
		pkg: "./internal/store", test: "TestTheSameRequestIsAppliedOnce",
		says: "two requests, one of them sent three times, were applied 4 times",
	},
	{
		name: "prune", promise: "An outcome is remembered for its whole window",
		pkg: "./internal/store", test: "TestPruningForgetsNothingWithinItsWindow",
		says: "a write that was sent again within the window was applied again",
	},
	{
		name: "release", promise: "Nobody releases a newer leader's Lease",
		pkg: "./internal/election", test: "TestAReleaseNeverWipesTheLockOfANewerHolder/guarded",
		says: "pod-0/boot-0 wiped the lock of other/o",
	},
	{
		name: "claim", promise: "A delayed claim usurps nobody",
		pkg: "./internal/store", test: "TestADelayedClaimLosesAgainstEverythingThatHasHappenedSince",
		says: "a delayed claim was applied although another replica had led meanwhile",
	},
	{
		name: "token", promise: "A disk of an earlier cluster stays out of this one",
		pkg: "./internal/member", test: "TestForeignClusterIsRefused",
		says: "a disk of an earlier cluster is started as a member of the present one",
	},
	{
		name: "read", promise: "A linearizable read is never behind",
		pkg: "./internal/store", test: "TestALinearizableReadIsNeverBehind",
		says: "a linearizable read returned \"1\", which had been replaced",
	},
	{
		name: "flag", promise: "The flag is off once its round is over",
		pkg: "./internal/election", test: "TestTheFlagIsOffAfterTheRoundInWhateverOrderTheCallbacksCome/stopped-between-the-claim-and-the-flag",
		says: "the round is over, and yet the flag of pod-0/boot-0 is on",
	},
	{
		name: "fsync", promise: "What is acknowledged is on the disks of a majority",
		pkg: "./internal/member", test: "TestAWriteIsOnTheDisksOfAMajority",
		says: "20 writes were acknowledged after 0 times that a log was brought to its disk",
	},
	{
		name: "stranger", promise: "Another client's lock is only ever waited out",
		pkg: "./internal/election", test: "TestAStrangersLockIsOnlyWaitedOut/another_client",
		says: "a stranger's lock was taken before it had run out",
	},
	{
		name: "version", promise: "An object's lock has one holder",
		pkg: "./internal/election", test: "TestLocks/AConflictIsReported/here/configmaps",
		says: "two hold the lock: it was free when both read it, and both took it",
	},
}

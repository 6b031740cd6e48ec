//go:build sabotage_fsync

package sabotage

const which = "fsync"

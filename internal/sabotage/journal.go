//go:build sabotage_journal

package sabotage

const which = "journal"

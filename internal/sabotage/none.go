//go:build !sabotage_chain && !sabotage_journal && !sabotage_prune && !sabotage_release && !sabotage_claim && !sabotage_token && !sabotage_read && !sabotage_flag && !sabotage_fsync && !sabotage_stranger && !sabotage_version

package sabotage

const which = ""

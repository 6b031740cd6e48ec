//go:build sabotage_claim

package sabotage

const which = "claim"

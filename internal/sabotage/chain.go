//go:build sabotage_chain

package sabotage

const which = "chain"

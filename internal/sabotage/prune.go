//go:build sabotage_prune

package sabotage

const which = "prune"

//go:build sabotage_flag

package sabotage

const which = "flag"

//go:build sabotage_read

package sabotage

const which = "read"

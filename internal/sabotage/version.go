//go:build sabotage_version

package sabotage

const which = "version"

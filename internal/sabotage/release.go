//go:build sabotage_release

package sabotage

const which = "release"

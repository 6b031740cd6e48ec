//go:build sabotage_stranger

package sabotage

const which = "stranger"

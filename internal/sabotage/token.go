//go:build sabotage_token

package sabotage

const which = "token"

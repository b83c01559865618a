# bash completion for agentsecrets(1), from its own --help, so that it cannot fall behind.
_agentsecrets()
{
	local cur=${COMP_WORDS[COMP_CWORD]} words=() i help line next=()

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--control | --config | --workspace | -w) ((i++)) ;;
		-*) ;;
		*)
			words+=("${COMP_WORDS[i]}")
			if [[ ${words[*]} == "run "* ]]; then
				declare -F _command_offset >/dev/null && _command_offset "$i"
				return
			fi
			;;
		esac
	done
	[[ ${words[*]} == run && $cur != -* ]] && {
		mapfile -t COMPREPLY < <(compgen -c -- "$cur")
		return
	}
	help=$(agentsecrets "${words[@]}" --help 2>/dev/null) || return
	while IFS= read -r line; do
		if [[ $cur == -* && $line =~ (--[a-z-]+) ]]; then
			next+=("${BASH_REMATCH[1]}")
		elif [[ $cur != -* && $line =~ ^\ \ ([a-z][a-z\ ]*[a-z])\ \  ]]; then
			line=${BASH_REMATCH[1]}
			((${#words[@]})) && line=${line#"${words[*]} "}
			next+=("${line%% *}")
		fi
	done <<<"$help"
	mapfile -t COMPREPLY < <(compgen -W "${next[*]}" -- "$cur" | sort -u)
}
complete -F _agentsecrets agentsecrets

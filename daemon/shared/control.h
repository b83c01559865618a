/* control.h: the daemon's unix socket, for the CLI.
 *
 * SOCK_STREAM at config's `control`, mode 0666: who may do what is judged by SO_PEERCRED, and a caller
 * that sits in a guarded cgroup is answered a refusal before a byte of it is read. One request, one
 * answer, each one JSON object on one line of at most CONTROL_LINE_MAX bytes; then the daemon closes.
 *
 *	{"op":"allowlist.add","workspace":"demo","rules":[{"host":"api.stripe.com"}]}
 *	{"ok":true,"version":2}		or	{"ok":false,"error":"a sentence that says what to do"}
 *
 * What is answered as done is in force: every process of the daemon has taken it up. One that did not within a second (stopped,
 * or beyond its strength) makes it "pending":true beside the rest.
 *
 * "workspace" left out: the caller's current one (workspace.use; workspace.create makes the first one
 * current). Unknown ops and fields are errors. root may do everything; the owner of a workspace may
 * run.enter, allowlist.list, allowlist.verify, secrets.list in it; everybody: version, workspace.list
 * (own), workspace.use (own), status (numbers only).
 *
 * op			fields → answer
 * version		→ version
 * init			→ public_key (hex), ca_file	-- vault, signing key, CA; refused when there is one
 * status		→ version, kernel, level, initialised, locked, processes:[{role,pid}], guards, workspaces,
 *			  vault_reads, leaves_signed, requests, denied, connections, kernel:{…}
 * doctor		→ checks:[{name,ok,required,detail}]
 * workspace.create	workspace, owner? (uid), backend? (file, secret-service, dir:/path) → workspace
 * workspace.list	→ workspaces:[{workspace,backend,version,owner,current,rules,secrets,guards}]
 * workspace.use	workspace → workspace
 * workspace.delete	workspace → workspace		-- refused while a guard uses it
 * allowlist.add	workspace?, rules:[{host,port?,mode?,methods?,paths?,private?}] → version
 * allowlist.remove	workspace?, rules:[{host,port?}] → version	-- without a port all rules of the host
 * allowlist.list	workspace? → workspace, version, rules:[…]
 * allowlist.verify	workspace? → workspace, version, public_key
 * secrets.set		workspace?, name, hosts?, slots?, kind?, params? (an object: kind.h); one descriptor (SCM_RIGHTS): read end of a pipe
 *			that holds the value to EOF → version. Without hosts an existing binding is kept.
 * secrets.list		workspace? → workspace, secrets:[{name,kind,hosts,slots}]
 * secrets.delete	workspace?, name → version
 * secrets.command	workspace?, name, command: {argv:[…],user (uid),timeout?,ttl?,env?:[…]}, hosts?, slots? … → version.
 *			  The value is what the command says; a value that was set before is deleted.
 * keyring.serve	workspace? → workspace; one descriptor: the channel on which the keeper asks the caller, who must be
 *			  the workspace's owner himself, for what is in his keyring (rpc.h, RPC_HELPER_…)
 * vault.status		→ state (none, locked, open), locked_by:[{kind,kdf?,passes?,memory_mib?}], changes, secrets,
 *			  file, wait_s? (until another passphrase may be tried)
 * vault.unlock		one descriptor, where it is locked by a passphrase: a pipe that yields it
 * vault.lock		nothing
 * vault.rewrap		to (key-file, passphrase, credential), passes?, memory_mib?; for a passphrase one descriptor
 * vault.backup		one descriptor: an empty file → locked_by, changes
 * vault.restore	one descriptor: the backup → kept (path)
 * run.enter		workspace? → guard, workspace, secrets:[names], env:["NAME=VALUE"] (placeholders), ca, bundle, jks (paths), proxy (port of
 *			  127.0.0.1), state_dir, run_dir (what `run` hides from a root agent).
 *			  The calling process (SO_PEERCRED's pid) has been moved into a fresh
 *			  guard when the answer arrives: it must be the one that execs.
 * cgroup.list		→ guards:[{guard,workspace,path,netns,pids,since}]
 * cgroup.attach	pid, workspace?, kill? (bool) → guard, workspace, path, moved (bool), processes, adopted (sockets
 *			  of before, held), reset (connections of before), killed (count), killed_pids:[…],
 *			  ca, bundle (paths), privileged? (pid of one that keeps capabilities past L1). Answered
 *			  only when nothing can get out any more; an error: nothing was changed.
 * cgroup.detach	guard (its number, or a pid in it; string) → guard, workspace, path, origin, stay (processes that could
 *			  not be moved back). The processes go on without a guard.
 * log.open		→ path; one descriptor: the audit log, read-only
 * log.heads		→ heads: [{writer, epoch, n}]: how far the writers that run have come (heads.h)
 * log.rotate		→ kept? (path): the file that was the log so far, if it was still in its place; nobody writes to it
 *			  any more, unless "pending"
 * log.key		writer, epoch (hex) → key (hex): first key of a chain, for `log verify`
 */
#ifndef CONTROL_H
#define CONTROL_H

#define CONTROL_LINE_MAX 262144
#define CONTROL_TIMEOUT_S 10

#endif

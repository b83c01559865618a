/* reason.c: words and sentences of refusals. One table row per reason; the sentences of the existing
 * clients (empty allowlist, domain) are kept to the letter. */
#include "reason.h"

#include "../../bpf/egress.h"
#include "own.h"

#include <stdbool.h>
#include <string.h>

const char *reason_word(enum reason r)
{
	static const char *const words[] = {
#define X(name, word) [REASON_##name] = word,
		REASONS(X)
#undef X
	};

	return (unsigned int)r < REASON_COUNT ? words[r] : words[REASON_INTERNAL];
}

enum reason reason_of_kernel(unsigned int eg, const char **ret_class)
{
	static const struct {
		enum reason reason;
		const char *class;
	} map[EG_REASON_COUNT] = {
		[EG_REASON_NONE] = {REASON_NONE, NULL},
		[EG_REASON_CLOSED] = {REASON_CLOSED, NULL},
		[EG_REASON_LOOPBACK] = {REASON_SSRF, "loopback"},
		[EG_REASON_PRIVATE] = {REASON_SSRF, "private"},
		[EG_REASON_LINK_LOCAL] = {REASON_SSRF, "link_local"},
		[EG_REASON_METADATA] = {REASON_SSRF, "metadata"},
		[EG_REASON_MULTICAST] = {REASON_SSRF, "multicast"},
		[EG_REASON_RESERVED] = {REASON_SSRF, "reserved"},
		[EG_REASON_UDP] = {REASON_UDP, NULL},
		[EG_REASON_FAMILY] = {REASON_FAMILY, NULL},
		[EG_REASON_SOCKET] = {REASON_SOCKET, NULL},
		[EG_REASON_WALL] = {REASON_WALL, NULL},
		[EG_REASON_INBOUND] = {REASON_INBOUND, NULL},
		[EG_REASON_SOCKOPT] = {REASON_SOCKOPT, NULL},
		[EG_REASON_BIND] = {REASON_BIND, NULL},
		[EG_REASON_PENDING] = {REASON_PENDING, NULL},
		[EG_REASON_UNIX] = {REASON_UNIX, NULL},
		[EG_REASON_FOREIGN] = {REASON_FOREIGN, NULL},
		[EG_REASON_TRACE] = {REASON_TRACE, NULL},
		[EG_REASON_BPF] = {REASON_BPF, NULL},
		[EG_REASON_CGROUP] = {REASON_CGROUP, NULL},
	};
	bool known = eg < EG_REASON_COUNT;

	if (ret_class)
		*ret_class = known ? map[eg].class : NULL;
	return known ? map[eg].reason : REASON_INTERNAL;
}

/* "%s" stands for the host, wherever it comes. */
static const char *const sentences[] = {
	[REASON_NONE] = "No reason was recorded for this refusal. Run: agentsecrets log",
	[REASON_NON_HTTPS] = "A credential is sent over https only, and the request to %s is not. Use an https:// URL",
	[REASON_EMPTY_ALLOWLIST] =
		"Your workspace allowlist is empty. No credential injections are allowed until you add at least "
		"one domain. Run: agentsecrets workspace allowlist add <domain>",
	[REASON_DOMAIN] = "%s is not in your workspace allowlist. To authorize it, run: agentsecrets workspace "
			  "allowlist add %s",
	[REASON_POLICY] = "%s is in your workspace allowlist, but not with this port, method and path. To see its "
			  "rules, run: agentsecrets workspace allowlist list",
	[REASON_APPROVAL_REQUIRED] = "This request to %s needs an approval that it does not have",
	[REASON_APPROVAL_DENIED] = "The approval for this request to %s was denied",
	[REASON_SSRF] = "%s leads to a private, loopback, metadata or otherwise special address. To authorize it, "
			"run: agentsecrets workspace allowlist add %s --private",
	[REASON_CAPABILITY] = "This agent is not allowed to make the request to %s",
	[REASON_NO_RECORD] = "The connection could not be traced to a guarded process. Start the agent with: "
			     "agentsecrets run -- <command>",
	[REASON_BAD_REQUEST] = "The request to %s is malformed or over a limit and was not sent",
	[REASON_SNI_MISSING] = "The TLS connection names no server (SNI). Connect by name, not by address",
	[REASON_SNI_HOST] = "The server name (SNI), the Host header and the CONNECT target must be the same; the "
			    "request names %s",
	[REASON_NOT_HTTP] = "The connection to %s is neither TLS nor HTTP. To authorize another protocol, run: "
			    "agentsecrets workspace allowlist add %s --port <port> --mode tcp",
	[REASON_SECRET_UNKNOWN] = "This workspace has no secret of the name that the request to %s refers to. To see "
				  "the names, run: agentsecrets secrets list",
	[REASON_SECRET_HOST] = "The secret may not be sent to %s. To authorize it, run: agentsecrets secrets bind NAME "
			       "--host %s",
	[REASON_SECRET_SLOT] = "The secret may not stand in this part of a request to %s. To authorize it, run: "
			       "agentsecrets secrets bind NAME --host %s --slot <slot>",
	[REASON_SECRET_PATH] = "The secret may not be sent to %s with this method and path. To see its binding, run: "
			       "agentsecrets secrets list",
	[REASON_SIGNATURE] = "The request to %s is signed in a way that cannot be signed again. Sign it with the placeholder "
			     "keys, with x-amz-date, host among the signed headers, and no reference beside it",
	[REASON_CLOCK] = "The signature of the request to %s is more than 15 minutes off, or has expired. Set the clock, "
			 "and sign again",
	[REASON_TOKEN_REFUSED] = "The authorization server refused to give an access token for %s. Check the credential "
				 "and its parameters: agentsecrets secrets list",
	[REASON_TOKEN] = "No access token for %s could be had: the authorization server does not answer, or not as it "
			 "should. Try again later",
	[REASON_INJECT_CLASH] = "Two rules for %s put different secrets into one place of this request. To see them, "
				"run: agentsecrets workspace allowlist list",
	[REASON_FOREIGN_CREDENTIAL] = "The request to %s carries a credential that is not of this workspace. To allow "
				      "that, run: agentsecrets workspace foreign-credentials warn",
	[REASON_SECRET_VALUE] = "The request to %s holds the value of a secret itself. Write its reference, "
				"agentsecrets://NAME, and rotate it: it has been seen outside of the vault",
	[REASON_WORKSPACE_GONE] = "The workspace of this process is missing, or its allowlist does not verify. Run: "
				  "agentsecrets workspace allowlist verify",
	[REASON_LIMIT] = "A limit of this agent was reached, and the request to %s was not sent. Try again when others "
			 "have ended",
	[REASON_BODY] = "The request's body may hold a secret's reference and is longer than the proxy looks into, so the "
			"request to %s was not sent. The limit is proxy.body_max of the daemon's configuration",
	[REASON_UPSTREAM_NAME] = "%s could not be resolved",
	[REASON_UPSTREAM_CONNECT] = "%s could not be reached",
	[REASON_UPSTREAM_PROXY] = "The proxy on the way to %s wants credentials that the daemon does not have, or refuses those "
				  "that it has. Whoever runs the daemon sets upstream.proxy_user and .proxy_password",
	[REASON_UPSTREAM_TLS] = "The certificate of %s is not valid for it. If its CA is your own, name it in "
				"upstream.ca_file of the daemon's configuration",
	[REASON_UPSTREAM_BAD] = "%s sent a response that is not valid HTTP",
	[REASON_UPSTREAM_TIMEOUT] = "%s did not answer in time",
	[REASON_UPSTREAM_CLOSED] = "%s closed the connection before its response was complete",
	[REASON_CLIENT_CLOSED] = "The client closed the connection before the response was complete",
	[REASON_CLIENT_TLS] = "The TLS handshake with the client failed; most often it does not trust our CA. Start it "
			      "with: agentsecrets run -- <command>",
	[REASON_VAULT] = "The vault could not be read, so no credential was sent to %s. Run: agentsecrets doctor",
	[REASON_VAULT_LOCKED] = "The vault is locked, so no credential was sent to %s. To unlock it, run: agentsecrets vault "
				"unlock",
	[REASON_KEYRING_LOCKED] = "The keyring that holds the credential for %s is locked. Its owner unlocks it, and the "
				  "request can be made again",
	[REASON_KEYRING_AWAY] = "Nobody answers for the keyring that holds the credential for %s. In its owner's session, "
				"start: agentsecrets-secret-service",
	[REASON_COMMAND] = "The command that yields the credential for %s failed, and nothing was sent. To see how, run: "
			   "agentsecrets log",
	[REASON_INTERNAL] = "The request to %s was refused because of an internal error. Run: agentsecrets doctor",
	[REASON_UDP] = "UDP is allowed for DNS alone, and was blocked",
	[REASON_FAMILY] = "This address family is not allowed, and was blocked",
	[REASON_SOCKET] = "Only TCP and UDP sockets are allowed; another kind was blocked",
	[REASON_WALL] = "A packet that was not going through the proxy was blocked",
	[REASON_INBOUND] = "A connection from elsewhere to this agent was blocked",
	[REASON_SOCKOPT] = "This socket option could lead packets around the proxy, and was blocked",
	[REASON_BIND] = "This port belongs to the proxy or the resolver, and cannot be bound",
	[REASON_CLOSED] = "This process has no workspace in force, so nothing may leave it. Run: agentsecrets status",
	[REASON_PENDING] = "Too many connections of this agent wait to be accepted; another was blocked",
	[REASON_UNIX] = "A unix socket is reached only if this agent itself made it; another, or one that cannot be "
			"told, was blocked. Run: agentsecrets doctor",
	[REASON_FOREIGN] = "A socket that was made outside this agent was blocked",
	[REASON_TRACE] = "A look into a process outside this agent was blocked",
	[REASON_BPF] = "bpf() could undo the guard, and was blocked",
	[REASON_CGROUP] = "A write to a cgroup's files could undo the guard, and was blocked",
};
_Static_assert(ARRAY_SIZE(sentences) == REASON_COUNT, "a sentence for each reason");

const char *reason_sentence(enum reason r, const char *host, char *buf, size_t len)
{
	const char *s = sentences[(unsigned int)r < REASON_COUNT ? r : REASON_INTERNAL];
	size_t n = 0;

	if (!host || !host[0])
		host = "<domain>";
	if (!len)
		return "";
	while (*s && n < len - 1) {
		if (strncmp(s, "%s", 2) == 0) {
			size_t h = strnlen(host, len - 1 - n);

			memcpy(buf + n, host, h);
			n += h;
			s += 2;
		} else {
			buf[n++] = *s++;
		}
	}
	buf[n] = '\0';
	return buf;
}

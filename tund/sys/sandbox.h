#pragma once
/* Which system calls a process or thread may make (libseccomp). One list per role in sandbox.c,
 * grouped by purpose, with a reason beside each group. Anything else ends the process (SIGSYS), but
 * for a token's key holder, where it fails (EPERM). */

enum sandbox_role {
	SANDBOX_PARENT, /* sockets, TUN, netlink, files by name, signals; no execve */
	SANDBOX_KEYS,	/* recv, send, read, write, memory, exit */
	SANDBOX_FETCH,	/* what glibc's resolver needs: files read-only, sockets */
	SANDBOX_STORE,	/* the engine's widest: SQLite's files, and creating threads */
	SANDBOX_ENGINE, /* the gateway's and the client's engine: no socket, bind, openat, execve;
			 * connect and threads allowed; no clone but for threads, no ptrace, no
			 * io_uring */
	SANDBOX_TOKEN,	/* the key holder with a token or a TPM: as KEYS, and questions about
			 * descriptors it has; no file and no socket can be opened */
	SANDBOX_TOKEN_FILES, /* the same, and files by name: after landlock_only */
};

/* For the calling thread and what it starts later. The engine loads SANDBOX_STORE first, starts the
 * store thread, then loads SANDBOX_ENGINE on top. Sets no-new-privileges. 0 or -errno. */
int sandbox_load(enum sandbox_role role);

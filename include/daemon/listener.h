/* LISTEN on a connection of its own, and the proof that it works. A notification is only a hint: the rows that it is
 * about are read then, and are called news. It writes worker->listens; others read it. */
#pragma once
#include "daemon/worker.h"

typedef struct Listener Listener;

typedef char ListenerId[65]; /* of a prediction */

typedef struct ListenerNews { /* what rows say of us; borrowed */
    const char *cancels;      /* text that names the jobs of ours that a cancel is asked for */
    unsigned held;            /* jobs that the database counts as ours */
    bool to_drain;            /* an operator wants this instance to stop */
} ListenerNews;

typedef struct ListenerEvents {
    void (*work)(void *userdata); /* there may be work */
    void (*changed)(
        void *userdata); /* notifications arrive, or do not any more (worker->listens) */
    void (*news)(void *userdata, const ListenerNews *news);
    /* These predictions may have got further; sorted. */
    void (*predictions)(void *userdata, const ListenerId *ids, unsigned n);
} ListenerEvents;

/* Without [database] listen it only reads news when it is asked to. 0, -ENOMEM or what libsystemd answers. */
int listener_new(Listener **ret, Worker *w, const ListenerEvents *events, void *userdata);
Listener *listener_free(Listener *l);

/* Sends a ping through the working connection, if both connections are up. */
void listener_prove(Listener *l);

/* Reads the news: what the project's tables say of our jobs. */
void listener_ask(Listener *l);

/* One key: N triggers, each on a node of its own, one reset, D drainers whose  */
/* leases run out, and a nemesis. What is checked, and what each flag adds, is  */
/* in README.md; the words are those of docs/concepts.md.                       */

#ifndef N
#define N 2
#endif
#ifndef D
#define D 1
#endif
#ifndef TEXP
#define TEXP 0                   /* how many claims run out under their owners  */
#endif
#ifndef LEXP
#define LEXP 1                   /* how many leases run out                     */
#endif
#ifndef LOSS
#define LOSS 0                   /* Redis loses 1 the record, 2 everything      */
#endif

#define TOMB 9                   /* in the slot: the tombstone of the reset     */
#define INF  200

/* Redis. The record of the key, and the entries. */
#define FREE     0
#define PENDING  1               /* claimed by trigger rv                       */
#define BOUND    2               /* run rv holds the key, and is in the buffer  */
#define RESOLVED 3               /* run rv held the key when it was published   */
byte rk = FREE, rv = 0, racc = 0, rfloor = 0;
bool recheck = false;            /* a reset has cut below the pending claim     */
byte clk = 1;                    /* the key's clock: acceptances only rise      */

#define QUEUED   1               /* proves that nothing can have happened       */
#define LEASED   2
#define ACKED    3               /* in its grace                                */
#define RETURNED 4               /* Postgres is to be asked                     */
byte ent[N+1], acc[N+1];

/* Postgres. */
#define RUN   1
#define ALIAS 2
byte row[N+1], tgt[N+1], vf[N+1], vu[N+1], last[N+1]; /* interval [vf,vu)       */
byte slot = 0, tu = 0;           /* the slot: empty, a run or TOMB; TOMB's cut  */

/* The fast path: windows from a look to its accept. While one is open that was */
/* open at an ack or a publish, what these left has not expired: fence << grace. */
byte open = 0, eblk[N+1], rblk = 0;
#ifdef M_NOGRACE
#define KEPT(mask) false
#else
#define KEPT(mask) (mask != 0)
#endif
#define BIT(i) (1 << (i))
inline shut(I) { open = open & (255 - BIT(I)); rblk = rblk & (255 - BIT(I)); k = 1;
  do :: k <= N -> eblk[k] = eblk[k] & (255 - BIT(I)); k++ :: else -> break od; k = 0 }

/* Bookkeeping of the check. */
byte res[N+1]; bool lost[N+1], after[N+1];
byte cut = 0, over = 0, done = 0, texp = TEXP, lexp = LEXP, loss = LOSS; bool resetDone = false, calm = false;

inline put(K, V, A) { rk = K; rv = V; racc = A; recheck = false; rblk = open }
inline born(I, A, U) { row[I] = RUN; vf[I] = A; vu[I] = U }

/* A claim's own run, or (pg) one with an acceptance of Postgres's clock, settles. */
/* out is the run that stands, or 0 if the settle is stale.                        */
inline settle(I, pg) {
  d_step {
    if :: pg -> clk++; acc[I] = clk :: else fi;
    if
    :: row[I] == RUN -> r = I
    :: row[I] == ALIAS -> r = tgt[I]
    :: row[I] == 0 && slot == 0 -> born(I, acc[I], INF); slot = I; r = I
    :: row[I] == 0 && slot != 0 && slot != TOMB && vu[slot] == INF -> r = slot
    :: row[I] == 0 && slot != 0 && (slot == TOMB || vu[slot] != INF) ->
       if :: slot == TOMB -> a = tu; u = tu :: else -> a = vf[slot]; u = vu[slot] fi;
       if
#ifndef M_RAISE
       :: !pg && acc[I] < a -> r = 0
       :: pg || acc[I] >= a ->
#else
       :: true ->
#endif
          if :: acc[I] > u -> u = acc[I] :: else fi;
          born(I, u, INF); slot = I; r = I
       fi
    fi; a = 0; u = 0
  }
}

/* A run comes out of the buffer: it can not be refused, nor its acceptance raised. */
inline materialise(I) {
  d_step {
    if
    :: row[I] == RUN -> r = I
    :: row[I] == ALIAS -> r = tgt[I]
    :: row[I] == 0 && slot == 0 -> born(I, acc[I], INF); slot = I; r = I
    :: row[I] == 0 && slot != 0 ->
       if :: slot == TOMB -> u = tu :: else -> u = vu[slot] fi;
       a = INF;
#ifndef M_NOCUT
       if :: cut != 0 && acc[I] < cut -> a = cut :: else fi;
#endif
       w = 0; k = 1;
       do
       :: k <= N -> if :: row[k] == RUN && vf[k] < a && acc[I] < vu[k] -> w = k :: else fi; k++
       :: else -> break
       od;
       if
       :: w != 0 ->
#ifdef M_NOALIAS
          born(I, acc[I], a); r = I
#else
          row[I] = ALIAS; tgt[I] = w; r = w;
          if :: acc[I] > last[w] -> last[w] = acc[I] :: else fi
#endif
       :: w == 0 && acc[I] >= u -> born(I, acc[I], a); slot = I; r = I
       :: w == 0 && acc[I] < u -> born(I, acc[I], a); r = I
       fi
    fi; a = 0; u = 0; w = 0; k = 0
  }
}

proctype Trigger(byte i) {
  byte r = 0, a = 0, u = 0, k = 0, w = 0, b = 0, obs = 0, seen = 0;
  bool fast = false, asked = true, pg = false;
  after[i] = resetDone;
#ifdef FAST
  if :: skip :: fast = true; goto LOOK fi;
#endif
CLAIM:
  asked = true;
  if
  :: atomic { (rk == FREE || (rk == BOUND && ent[rv] == 0) || (rk >= BOUND && obs != 0 && rv == obs) || (rk == PENDING && rv == i)) ->
       if :: rk == PENDING -> k = recheck :: else -> k = 0 fi;
       clk++; acc[i] = clk; put(PENDING, i, clk); recheck = k; k = 0; obs = 0 }
  :: atomic { rk == BOUND && rv != obs && ent[rv] == QUEUED -> r = rv; goto ACK }
  :: atomic { rk == BOUND && rv != obs && ent[rv] > QUEUED -> b = rv; goto CONFIRM }
  :: atomic { rk == RESOLVED && rv != obs -> b = rv; goto VERIFY }
  :: atomic { rk == PENDING && rv != i -> skip };
     if :: goto GIVEUP :: (rk != PENDING || rv == i) -> goto CLAIM fi
#ifdef FAILOPEN
  :: pg = true; goto SETTLE                          /* Redis can not be reached from here */
#endif
  fi;
  if :: goto SETTLE :: skip fi;                      /* the gate: passed, or mollified     */
LOOK:
  skip;
  if
  :: d_step { seen = 0; asked = true; if :: fast -> open = open | BIT(i) :: else fi;
       if :: slot != 0 && slot != TOMB && vu[slot] == INF -> seen = slot :: else fi }
#ifdef BLIND
  :: d_step { seen = 0; asked = false }              /* Postgres can not be asked          */
#endif
  fi;
  if
  :: atomic { rk == PENDING && rv != i -> if :: fast -> shut(i); fast = false :: else fi; goto CLAIM }
  :: atomic { rk == RESOLVED && rv != seen -> b = rv; if :: fast -> shut(i); fast = false :: else fi; goto VERIFY }
  :: atomic { rk == BOUND && ent[rv] == QUEUED -> r = rv; if :: fast -> shut(i); fast = false :: else fi; goto ACK }
  :: atomic { rk == BOUND && ent[rv] > QUEUED -> b = rv; if :: fast -> shut(i); fast = false :: else fi; goto CONFIRM }
  :: atomic { rk == FREE || (rk == PENDING && rv == i) || (rk == RESOLVED && rv == seen) || (rk == BOUND && ent[rv] == 0) ->
       if
       :: (rk != PENDING && !fast && asked) -> goto CLAIM           /* the claim is lost    */
       :: (rk != PENDING && seen != 0 && rk != RESOLVED && rfloor > vf[seen]) ->
          if :: fast -> shut(i); fast = false :: else fi; goto CLAIM    /* a reset came since   */
       :: (rk == PENDING && seen != 0 && recheck) -> put(FREE, 0, 0); goto CLAIM
       :: else ->
          if
          :: seen != 0 -> r = seen; if :: rk == PENDING -> put(RESOLVED, seen, vf[seen]) :: else fi
          :: else -> clk++; acc[i] = clk; r = i; put(BOUND, i, clk);
             if :: asked -> ent[i] = QUEUED :: else -> ent[i] = RETURNED fi
          fi;
          if :: fast -> shut(i); fast = false :: else fi
       fi }
#ifdef DIVERT
     ; if :: goto ACK :: r == i -> pg = true; goto SETTLE fi            /* the reply is lost     */
#else
     ; goto ACK
#endif
  :: fast -> d_step { shut(i); fast = false }; goto CLAIM               /* too late for the fence */
  fi;
VERIFY:                                              /* does a published run still hold?   */
  skip; d_step { w = b; if :: row[b] == ALIAS -> w = tgt[b] :: else fi;
    if :: slot == w && vu[w] == INF -> r = w :: else -> obs = b fi; w = 0 };
  if :: r != 0 -> goto ACK :: else -> goto CLAIM fi;
CONFIRM:                                             /* a bound run that proves nothing    */
  skip; d_step {
    if
    :: slot != 0 && slot != TOMB && (row[b] != 0 || acc[b] < vu[slot]) ->
       if :: vu[slot] == INF -> r = slot :: else -> obs = b fi
    :: slot == TOMB && (row[b] != 0 || acc[b] < tu) -> obs = b
    :: else -> r = b
    fi };
  if :: r != 0 -> goto ACK :: else -> goto CLAIM fi;
SETTLE:
  skip; settle(i, pg);
  if :: r == 0 -> goto CLAIM :: else fi;             /* stale: the claim is taken anew      */
  if :: skip :: goto GIVEUP fi;                      /* the node dies before it publishes  */
  d_step { if
    :: rk == PENDING && rv == i && recheck && (r != i || pg) -> put(FREE, 0, 0)
    :: rk == PENDING && rv == i && !(recheck && (r != i || pg)) -> put(RESOLVED, r, vf[r])
    :: else fi };
ACK:
  res[i] = r;
GIVEUP:
  skip; d_step { shut(i); over++ }
}

proctype Drainer() {
  byte r = 0, a = 0, u = 0, k = 0, w = 0, e = 0;
  do
  :: atomic { e == 0 && (ent[1] == QUEUED || ent[1] == RETURNED) -> ent[1] = LEASED; e = 1 }
  :: atomic { e == 0 && (ent[2] == QUEUED || ent[2] == RETURNED) -> ent[2] = LEASED; e = 2 }
#if N > 2
  :: atomic { e == 0 && (ent[3] == QUEUED || ent[3] == RETURNED) -> ent[3] = LEASED; e = 3 }
#endif
  :: (e == 0 && calm && over == N+1 && (ent[1] == 0 || ent[1] == ACKED) && (ent[2] == 0 || ent[2] == ACKED)
#if N > 2
      && (ent[3] == 0 || ent[3] == ACKED)
#endif
     ) -> break
  :: e != 0 -> materialise(e);
     if
     :: d_step { if :: ent[e] != 0 -> ent[e] = ACKED; eblk[e] = open;
                       if :: rk == BOUND && rv == e -> put(RESOLVED, r, racc) :: else fi
                    :: else fi }
     :: lexp > 0 -> d_step { lexp--; if :: ent[e] == LEASED -> ent[e] = RETURNED :: else fi }
     fi; e = 0
  :: e != 0 && lexp > 0 -> d_step { lexp--; if :: ent[e] == LEASED -> ent[e] = RETURNED :: else fi }; e = 0
  od;
  done++
}

/* What is kept for a while goes: entries after their grace, and a record that nothing needs. */
proctype Time() {
  do
  :: d_step { ent[1] == ACKED && !KEPT(eblk[1]) -> ent[1] = 0 }
  :: d_step { ent[2] == ACKED && !KEPT(eblk[2]) -> ent[2] = 0 }
  :: d_step { (rk == RESOLVED || (rk == FREE && rfloor != 0)) && !KEPT(rblk) -> rk = FREE; rv = 0; rfloor = 0 }
  :: break
  od;
  done++
}

proctype Reset() {
#ifdef RESET
  byte c = 0;
  d_step { clk++; c = clk };                         /* 1: the key's clock in Redis        */
  d_step {                                           /* 2: the slot                        */
    if
    :: slot != 0 && slot != TOMB ->
#ifndef M_NOLAST
       if :: last[slot] >= c -> c = last[slot] + 1 :: else fi;
#endif
       if :: vf[slot] >= c -> c = vf[slot] + 1 :: else fi;
       if :: vu[slot] > c -> vu[slot] = c :: else fi
    :: else fi;
    if :: clk < c -> clk = c :: else fi;
#ifndef M_NOTOMB
    slot = TOMB; tu = c;
#endif
    cut = c };
#ifdef M_NOTOMB
  d_step { cut = 0 };
#endif
  d_step {                                           /* 3: the record                      */
    if
    :: rk == PENDING && racc >= c -> recheck = true
#ifndef M_KEEPPENDING
    :: rk == PENDING && racc < c -> put(FREE, 0, 0); rfloor = c
#endif
    :: rk > PENDING && racc < c -> put(FREE, 0, 0); rfloor = c
    :: rk == FREE && rfloor < c -> rfloor = c; rblk = open
    :: else fi };
  d_step { resetDone = true; cut = c };
#endif
  over++
}

proctype Nemesis() {
  byte j = 0;
  do
  :: d_step { texp > 0 && rk == PENDING -> texp--; put(FREE, 0, 0) }
  :: d_step { loss == 1 -> loss = 0; put(FREE, 0, 0); rfloor = 0 }
  :: d_step { loss == 2 -> loss = 0; put(FREE, 0, 0); rfloor = 0; j = 1;
       do :: j <= N -> if :: ent[j] != 0 -> ent[j] = 0; lost[j] = true :: else fi; j++ :: else -> break od; j = 0 }
  :: break
  od;
  skip; d_step { calm = true; done++ }
}

/* When all is quiet. */
proctype Check() {
  byte i = 0, j = 0, x = 0, y = 0;
  (over == N + 1 && done == D + 2);
  d_step {
    i = 1;
    do
    :: i <= N ->
       if
       :: res[i] != 0 ->
          x = res[i];
#ifdef E5
          assert(row[x] != ALIAS);                                      /* E5 */
#endif
          assert(row[x] != 0 || lost[x]);                               /* E1 */
          if :: row[x] == ALIAS -> x = tgt[x]; assert(row[x] == RUN) :: else fi;
          assert(!(after[i] && row[x] == RUN && vf[x] < cut));          /* E3 */
          j = 1;
          do
          :: j < i ->
             if
             :: res[j] != 0 && row[x] == RUN ->
                y = res[j];
                if :: row[y] == ALIAS -> y = tgt[y] :: else fi;
#ifdef RESET
                assert(!(row[y] == RUN && after[i] && after[j] && x != y)) /* E4 */
#else
                assert(!(row[y] == RUN && x != y))
#endif
             :: else fi; j++
          :: else -> break
          od
       :: else fi;
       j = 1;
       do
       :: j < i -> assert(!(row[i] == RUN && row[j] == RUN && vf[i] < vu[j] && vf[j] < vu[i])); j++ /* E2 */
       :: else -> break
       od;
       i++
    :: else -> break
    od
  }
}

init { atomic {
  run Trigger(1); run Trigger(2);
#if N > 2
  run Trigger(3);
#endif
  run Reset(); run Drainer();
#if D > 1
  run Drainer();
#endif
  run Time(); run Nemesis(); run Check() } }

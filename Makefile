# meshifyd. `make help` lists the targets.
VERSION := 0.1.0

PREFIX     ?= /usr
SYSCONFDIR ?= /etc
UNITDIR    ?= $(PREFIX)/lib/systemd/system
CATALOGDIR ?= $(PREFIX)/lib/systemd/catalog
MANDIR     ?= $(PREFIX)/share/man
DESTDIR    ?=
BUILD      ?= build
SAN        ?=# sanitizers, e.g. SAN=address,undefined

# The sources in reading order: this list is the table of contents.
BASE   := address fault redact str proxy json http_message db_message db_failure hash prom clock log_out log say
CORE   := verdict purchase job config config_errors config_table config_ini config_names config_units config_doubts config_rows config_check config_steps config_value database_url pipeline retry hold json_pointer json_scan sift glb glb_json glb_items
FLOW   := notify claim fence answer replicate predict wanted listing look audit poll download validate object supabase supabase_upload supabase_sign bucket store_supabase store_dir store complete
IO     := descriptors turns aside resolve hosts_list hosts db_errors db_login db_session db_ops db_loss db_connect db http_setup http_body http_reply http_route http httpd spool dir dir_sweep
DAEMON := libraries loop supervisor settings database_trust timer lane metrics store_op worker lockline looking patience task notes purchase_states file_states finishing closing_states states lease listener taking claims retelling waits prune audit sweep sample metrics_text status pages instance
CTL    := ctl migrate schema jobs top admin
DOCTOR := login doctor_report doctor_query doctor_users doctor_schema doctor_db doctor_hosts doctor_http doctor
CTL_IO := db_login db_session turns aside resolve http_route http_setup http_body http_reply http dir_sweep dir # what the doctor asks with
SIM    := $(notdir $(basename $(wildcard tests/sim/*.c)))

# Any change under sql/ raises the version: see sql/README.md. Programs from COMPATIBLE_FROM on may work on it.
SCHEMA_VERSION  := 33
COMPATIBLE_FROM := 31
PROJECT         := tables views functions triggers indexes rights
SQL             := sql/begin.sql $(sort $(wildcard sql/migrations/*.sql)) $(sort $(wildcard sql/functions/*.sql)) $(PROJECT:%=sql/project/%.sql)

CFLAGS  ?= -O2 -g
LDFLAGS ?=
PKGS    := libsystemd libpq libcurl jansson libcrypto inih libisal

# Ours stand apart from CFLAGS, which stays the packager's.
OUR_CFLAGS   := -std=gnu17 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
                -Wformat=2 -Wvla -Wundef -Wpointer-arith -Werror=implicit -fno-common -fPIE \
                -fstack-protector-strong $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
OUR_CPPFLAGS := -Iinclude -D_GNU_SOURCE -DVERSION='"$(VERSION)"' -DSCHEMA_VERSION=$(SCHEMA_VERSION) -DCOMPATIBLE_FROM=$(COMPATIBLE_FROM) -DSYSCONFDIR='"$(SYSCONFDIR)"' \
                $(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2) $(shell pkg-config --cflags $(PKGS))
OUR_LDFLAGS  := -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(if $(SAN),-fsanitize=$(SAN))
LIBS         := $(shell pkg-config --libs $(PKGS))
Q             = $(if $(V),,@)# V=1 shows the commands
COMPILE       = $(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(CFLAGS)
LINK          = $(CC) $(OUR_CFLAGS) $(CFLAGS) $(OUR_LDFLAGS) $(LDFLAGS)

OUTSIDE    := base/clock.o base/log_out.o base/log.o base/say.o# what of base/ is not pure
PURE_OBJ   := $(addprefix $(BUILD)/,$(filter-out $(OUTSIDE),$(BASE:%=base/%.o)) \
                $(CORE:%=core/%.o) $(FLOW:%=flow/%.o))
DAEMON_OBJ := $(addprefix $(BUILD)/,meshifyd.o $(OUTSIDE) $(IO:%=io/%.o) $(DAEMON:%=daemon/%.o) $(DOCTOR:%=ctl/%.o))
CTL_OBJ    := $(addprefix $(BUILD)/,meshifyctl.o base/clock.o $(CTL_IO:%=io/%.o) base/log_out.o base/say.o $(CTL:%=ctl/%.o) $(DOCTOR:%=ctl/%.o) daemon/settings.o daemon/database_trust.o ctl/schema_sql.o)
SIM_OBJ    := $(SIM:%=$(BUILD)/tests/sim/%.o)
UNIT       := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/t_*.c))
MAN        := meshifyd.8 meshifyctl.1 meshify.ini.5
FUZZ       := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
COMMA      := ,
PROGRAMS   := $(addprefix $(BUILD)/,meshifyd meshifyctl meshify-sim)

all: $(PROGRAMS)                ## build the three programs (SAN=address,undefined for sanitizers)

# Other flags, or another schema version, make other objects; other lists of objects make another archive and programs,
# also where a list has only lost one.
$(BUILD)/flags: export SAYS = $(COMPILE)
$(BUILD)/objects: export SAYS = $(PURE_OBJ) $(DAEMON_OBJ) $(CTL_OBJ) $(SIM_OBJ)
$(BUILD)/flags $(BUILD)/objects: FORCE
	@mkdir -p $(@D)
	@[ "$$(cat $@ 2>/dev/null)" = "$$SAYS" ] || printf '%s\n' "$$SAYS" >$@

$(BUILD)/%.o: src/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $@")
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

$(BUILD)/tests/sim/%.o: tests/sim/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $@")
	$(Q)$(COMPILE) -Itests/sim -MMD -MP -c -o $@ $<

$(BUILD)/libpure.a: $(PURE_OBJ) $(BUILD)/objects
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/meshifyd: $(DAEMON_OBJ) $(BUILD)/libpure.a $(BUILD)/objects
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(LINK) -o $@ $(filter-out %/objects,$^) -lmicrohttpd $(LIBS)

$(BUILD)/meshifyctl: $(CTL_OBJ) $(BUILD)/libpure.a $(BUILD)/objects
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(LINK) -o $@ $(filter-out %/objects,$^) $(LIBS)

$(BUILD)/meshify-sim: $(SIM_OBJ) $(BUILD)/base/hash.o $(BUILD)/objects
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(LINK) -o $@ $(filter-out %/objects,$^) -lmicrohttpd $(LIBS) -lm

# The files of sql/ travel inside meshifyctl: an assembler file names each, so that no tool is needed.
$(BUILD)/ctl/schema_sql.S: $(SQL) Makefile
	@mkdir -p $(@D)
	@{ printf '.section .note.GNU-stack,"",%%progbits\n.section .rodata\n'; i=0; \
	   for f in $(SQL); do i=$$((i + 1)); n=$${f#sql/}; \
	     printf 'n_%s: .asciz "%s"\nb_%s: .incbin "%s"\ne_%s: .byte 0\n' $$i $${n%.sql} $$i $$f $$i; done; \
	   printf '.section .data.rel.ro,"aw"\n.globl schema_files\n.balign 8\nschema_files:\n'; i=0; \
	   for f in $(SQL); do i=$$((i + 1)); printf '.quad n_%s, b_%s, e_%s - b_%s\n' $$i $$i $$i $$i; done; \
	   printf '.quad 0, 0, 0\n'; } >$@

$(BUILD)/ctl/schema_sql.o: $(BUILD)/ctl/schema_sql.S
	$(CC) -c -o $@ $<

$(BUILD)/tests/%: tests/unit/%.c $(BUILD)/libpure.a $(BUILD)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $@")
	$(Q)$(COMPILE) -Itests/unit -MMD -MP -MT $@ -c -o $@.o $<
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(LINK) $(WRAP) -o $@ $@.o $(EXTRA) $(BUILD)/libpure.a -lcmocka $(LIBS)

# Tests that fail one allocation after the other put themselves between us and the C library.
TORTURED := $(shell grep -l torture.h tests/unit/t_*.c)
$(TORTURED:tests/unit/%.c=$(BUILD)/tests/%): WRAP = $(patsubst %,-Wl$(COMMA)--wrap=%,malloc calloc realloc reallocarray strdup strndup vasprintf __vasprintf_chk)
$(BUILD)/tests/t_settings: EXTRA = $(BUILD)/daemon/settings.o $(BUILD)/base/log_out.o
$(BUILD)/tests/t_settings: $(BUILD)/daemon/settings.o $(BUILD)/base/log_out.o
$(BUILD)/tests/t_hosts: EXTRA = $(BUILD)/io/hosts_list.o
$(BUILD)/tests/t_hosts: $(BUILD)/io/hosts_list.o
DIR_OBJ := $(addprefix $(BUILD)/io/,aside.o dir.o dir_sweep.o)
$(BUILD)/tests/t_aside: EXTRA = $(BUILD)/io/aside.o
$(BUILD)/tests/t_aside: $(BUILD)/io/aside.o
$(BUILD)/tests/t_dir: EXTRA = $(DIR_OBJ)
$(BUILD)/tests/t_dir: $(DIR_OBJ)
$(BUILD)/tests/t_store_op: EXTRA = $(BUILD)/daemon/store_op.o $(BUILD)/io/turns.o
$(BUILD)/tests/t_store_op: $(BUILD)/daemon/store_op.o $(BUILD)/io/turns.o
$(BUILD)/tests/t_dir_sweep: EXTRA = $(BUILD)/io/dir_sweep.o
$(BUILD)/tests/t_dir_sweep: $(BUILD)/io/dir_sweep.o
$(BUILD)/tests/t_db_errors: EXTRA = $(BUILD)/io/db_errors.o
$(BUILD)/tests/t_db_errors: $(BUILD)/io/db_errors.o
HTTP_OBJ := $(addprefix $(BUILD)/,base/clock.o $(addprefix io/,turns.o aside.o resolve.o http_route.o http_setup.o http_body.o http_reply.o http.o))
$(BUILD)/tests/t_http: EXTRA = $(HTTP_OBJ)
$(BUILD)/tests/t_http: $(HTTP_OBJ)
TASK_OBJ := $(addprefix $(BUILD)/,daemon/task.o daemon/timer.o daemon/lane.o daemon/metrics.o daemon/patience.o io/db_errors.o)
$(BUILD)/tests/t_task: EXTRA = $(TASK_OBJ)
$(BUILD)/tests/t_task: $(TASK_OBJ)
$(BUILD)/tests/t_lease: EXTRA = $(BUILD)/daemon/lease.o $(BUILD)/daemon/timer.o
$(BUILD)/tests/t_lease: $(BUILD)/daemon/lease.o $(BUILD)/daemon/timer.o
$(BUILD)/tests/t_listener: EXTRA = $(BUILD)/daemon/listener.o $(BUILD)/daemon/timer.o
$(BUILD)/tests/t_listener: $(BUILD)/daemon/listener.o $(BUILD)/daemon/timer.o
SWEEP_OBJ := $(BUILD)/daemon/sweep.o $(BUILD)/daemon/timer.o
$(BUILD)/tests/t_sweep: EXTRA = $(SWEEP_OBJ)
$(BUILD)/tests/t_sweep: $(SWEEP_OBJ)
$(BUILD)/tests/t_clock: EXTRA = $(BUILD)/base/clock.o
$(BUILD)/tests/t_clock: $(BUILD)/base/clock.o

check: lint check-unit check-sql check-e2e   ## all tests

check-unit: $(UNIT) $(BUILD)/libpure.a       ## unit tests, each module by itself
	prove -e '' $(UNIT)

check-sql: all                               ## pgTAP tests of the SQL functions
	prove -e tests/sql/run $(wildcard tests/sql/*.sql)

check-e2e: all                               ## the real programs together (E2E=tests/e2e/NN-name.t for one)
	BUILD=$(BUILD) prove -j3 -e '' $(or $(E2E),$(sort $(wildcard tests/e2e/*.t)))

# But those without a database, and the doctor, who looks at what a new session finds: a pooler keeps old ones.
BOUNCED := $(filter-out %/01-install.t %/05-sim.t %/06-lab_proxies.t %/70-doctor.t,$(sort $(wildcard tests/e2e/*.t)))
check-pgbouncer: all                         ## end-to-end tests through PgBouncer in transaction mode: polling, and with listen_url
	BUILD=$(BUILD) LAB_BOUNCER=poll prove -j2 -e '' $(or $(E2E),$(BOUNCED))
	BUILD=$(BUILD) LAB_BOUNCER=listen prove -j2 -e '' $(or $(E2E),$(BOUNCED))

POSTGRES ?= 13 14 16 17 18
check-postgres: E2E ?= tests/e2e/20-flow.t tests/e2e/40-faults.t tests/e2e/50-database.t tests/e2e/60-variants.t tests/e2e/62-versions.t
check-postgres: all                          ## SQL and end-to-end tests on POSTGRES (13 14 16 17 18), by npm
	BUILD=$(BUILD) tests/servers "$(POSTGRES)" $(MAKE) check-sql check-e2e E2E="$(E2E)"

VARIANTS ?= job_type,enum,integers both_types,check,not_null triggers,integers
check-variants: all                          ## end-to-end tests on databases as they are in the field
	set -e; for v in $(VARIANTS); do echo "== $$v"; LAB_VARIANT=$$v $(MAKE) check-e2e E2E="tests/e2e/20-flow.t tests/e2e/40-faults.t"; done

check-kill: all                              ## a kill at every message of a job, in every way
	BUILD=$(BUILD) KILL=all prove -e '' tests/e2e/80-kill.t

check-model:                                 ## the protocol, all of it, checked with spin (long)
	BUILD=$(BUILD) prove -e '' tests/model/run :: -j $(or $(JOBS),2) all

check-model-quick:                           ## the protocol, in the small
	BUILD=$(BUILD) prove -e '' tests/model/run :: -j $(or $(JOBS),2) quick

check-mutants: all                           ## each rule of the protocol broken in the code: is it noticed? (long)
	BUILD=$(BUILD) prove -e '' tests/model/mutate

SUPABASE := 2.117.0
check-supabase: all $(BUILD)/supabase/$(SUPABASE) ## what migrate --print says, pushed by the Supabase CLI (by npm)
	BUILD=$(BUILD) SUPABASE_CLI=$(BUILD)/supabase/$(SUPABASE)/node_modules/.bin/supabase prove -e '' tests/supabase

$(BUILD)/supabase/$(SUPABASE):
	npm install --loglevel=error --no-audit --no-fund --prefix $@.new supabase@$(SUPABASE)
	mv $@.new $@

check-fuzz:                                  ## each fuzz target for FUZZ_SECONDS (15)
	$(MAKE) BUILD=$(BUILD)/fuzzing CC=clang SAN=fuzzer-no-link,address,undefined fuzz-run

fuzz-run: $(FUZZ:$(BUILD)/fuzz/%=$(BUILD)/fuzz/%)
	tests/fuzz/run $(or $(FUZZ_SECONDS),15) $(FUZZ)

$(BUILD)/fuzz/fuzz_hosts: EXTRA = $(BUILD)/io/hosts_list.o
$(BUILD)/fuzz/fuzz_hosts: $(BUILD)/io/hosts_list.o

$(BUILD)/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(BUILD)/libpure.a
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $@")
	$(Q)$(COMPILE) -fsanitize=fuzzer -o $@ $< $(EXTRA) $(BUILD)/libpure.a $(LIBS)

# Without those of the installation (01), the lab itself (06), the tools (10, 70), bad starts (43), databases and limits
# as they are in the field (6x), and kills (80, 90): they take long, and tell little new of memory.
SANITIZED := $(filter-out $(addprefix tests/e2e/,01% 06% 10% 43% 6% 70% 80% 90%),$(sort $(wildcard tests/e2e/*.t)))
check-sanitized:                             ## unit and most end-to-end tests under ASan and UBSan
	PATIENCE=3 $(MAKE) BUILD=$(BUILD)/sanitized SAN=address,undefined check-unit check-e2e E2E="$(SANITIZED)"

VALGRIND := valgrind -q --error-exitcode=99 --run-libc-freeres=no --leak-check=full \
            --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect
check-valgrind: all                          ## end-to-end tests with each daemon under valgrind
	BUILD=$(BUILD) PATIENCE=3 WRAPPER="$(VALGRIND)" FLOW_JOBS=200 prove -j2 -e '' $(addprefix tests/e2e/,20-flow.t 30-stop.t 40-faults.t 45-hostile_input.t 50-database.t)

chaos: all                                   ## everything goes wrong at once, then all must add up (JOBS=2000 SEED=1 LOG=FILE)
	BUILD=$(BUILD) JOBS=$(or $(JOBS),2000) SEED=$(or $(SEED),1) LOG=$(LOG) tests/chaos

coverage:                                    ## what unit and end-to-end tests reach: branches of core/ and flow/ 95 %, lines 85 %, or it fails
	$(MAKE) BUILD=$(BUILD)/coverage CFLAGS='-O1 -g --coverage -fprofile-update=atomic' LDFLAGS=--coverage check-unit check-e2e
	gcovr --root . --object-directory $(BUILD)/coverage --filter src/core/ --filter src/flow/ --exclude-throw-branches --branches --print-summary --fail-under-branch 95
	gcovr --root . --object-directory $(BUILD)/coverage --filter src/ --print-summary --fail-under-line 85

check-compilers:                             ## gcc and clang, every warning an error
	$(MAKE) BUILD=$(BUILD)/gcc CC=gcc CFLAGS='$(CFLAGS) -Werror' all units
	$(MAKE) BUILD=$(BUILD)/clang CC=clang CFLAGS='$(CFLAGS) -Werror' all units

TIDY := $(patsubst %,tidy-%,$(wildcard src/*.c src/*/*.c tests/sim/*.c))
# cppcheck is shown the headers whose macros it can't guess; its memleak does not know cleanup.
MACROS := $(shell printf '\043include <sys/queue.h>\n\043include <jansson.h>\n' | $(CC) -M -x c - | grep -oE '/[^ ]*/(sys/queue|jansson)\.h')
tidy: $(TIDY)                                ## clang-tidy and cppcheck
	cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,portability --std=c11 \
	    --suppress=missingIncludeSystem --suppress=memleak $(MACROS:%=--include=%) -Iinclude -Itests/sim src tests/sim

$(TIDY): tidy-%:
	$(Q)clang-tidy --quiet $* -- -std=gnu17 -Itests/sim $(OUR_CPPFLAGS) 2>/dev/null

# gcc sees the code best as it is written, not as -O2 makes it. In these files it takes for lost what a
# structure owns that it can't follow to its end; valgrind and ASan can.
ANALYZE := $(TIDY:tidy-%=analyze-%)
OWNED   := src/core/config.c src/core/config_rows.c src/core/config_steps.c src/core/config_value.c src/flow/predict.c src/io/hosts.c src/io/http.c tests/sim/http.c tests/sim/store.c
analyze: $(ANALYZE)                          ## gcc -fanalyzer, each finding an error

$(ANALYZE): analyze-%:
	$(Q)gcc -std=gnu17 -Itests/sim $(filter-out -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2,$(OUR_CPPFLAGS)) -O0 -fanalyzer -Werror \
	    $(if $(filter $*,$(OWNED)),-Wno-analyzer-malloc-leak) -c -o /dev/null $*

units: $(UNIT)

check-boot: all                              ## install, start, hand over on a real systemd (root)
	BUILD=$(BUILD) tests/boot/run

lint: all $(BUILD)/libpure.a $(BUILD)/tests/t_config ## layers, circles, purity, tables, options, catalog, manual pages
	@bad=; for l in tests/lint/*; do BUILD=$(BUILD) $$l $(BUILD)/libpure.a || bad="$$bad $$l"; done; \
	    [ -z "$$bad" ] || { echo "lint: failed:$$bad" >&2; exit 1; }

demo: all                                    ## the main job, on everything private to this directory
	BUILD=$(BUILD) tests/demo

bench: all                                   ## latency, memory, idle use
	BUILD=$(BUILD) tests/bench

install: all                                 ## into DESTDIR, PREFIX
	install -D -m 755 $(BUILD)/meshifyd $(DESTDIR)$(PREFIX)/sbin/meshifyd
	install -D -m 755 $(BUILD)/meshifyctl $(DESTDIR)$(PREFIX)/bin/meshifyctl
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/meshify.d
	for u in meshifyd.service meshifyd@.service; do \
	    sed 's|@sbindir@|$(PREFIX)/sbin|g' systemd/$$u >$(DESTDIR)$(UNITDIR)/$$u && chmod 644 $(DESTDIR)$(UNITDIR)/$$u || exit 1; done
	install -D -m 644 systemd/meshify.catalog $(DESTDIR)$(CATALOGDIR)/meshify.catalog
	for m in $(MAN); do dir=$(DESTDIR)$(MANDIR)/man$${m##*.} && install -d $$dir && \
	    sed 's|/etc/meshify|$(SYSCONFDIR)/meshify|g' man/$$m >$$dir/$$m && chmod 644 $$dir/$$m || exit 1; done
	[ -n "$(DESTDIR)" ] || ! command -v journalctl >/dev/null || journalctl --update-catalog
	[ -e $(DESTDIR)$(SYSCONFDIR)/meshify.ini ] || install -m 600 etc/meshify.ini $(DESTDIR)$(SYSCONFDIR)/meshify.ini

uninstall:                                   ## removes what install put there, but for the configuration
	rm -f $(DESTDIR)$(PREFIX)/sbin/meshifyd $(DESTDIR)$(PREFIX)/bin/meshifyctl $(DESTDIR)$(CATALOGDIR)/meshify.catalog
	rm -f $(DESTDIR)$(UNITDIR)/meshifyd.service $(DESTDIR)$(UNITDIR)/meshifyd@.service
	rm -f $(foreach m,$(MAN),$(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $m))/$m)

format:                                      ## clang-format on all C
	clang-format -i $(wildcard src/*.c src/*/*.c include/*/*.h tests/sim/*.[ch] tests/unit/*.[ch] tests/fuzz/*.[ch])

clean:                                       ## removes what was built
	rm -rf $(BUILD)

help:                                        ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## *\(.*\)/\1\t\2/p' Makefile | expand -t 20

.PHONY: check check-unit check-sql check-e2e check-postgres check-pgbouncer check-supabase check-kill check-model check-model-quick check-mutants check-fuzz check-boot check-sanitized check-valgrind check-compilers check-variants
.PHONY: FORCE all fuzz-run coverage tidy analyze units $(TIDY) $(ANALYZE) lint demo bench chaos install uninstall format clean help

.DELETE_ON_ERROR:
.SECONDARY:
-include $(PURE_OBJ:.o=.d) $(DAEMON_OBJ:.o=.d) $(CTL_OBJ:.o=.d) $(SIM_OBJ:.o=.d) $(UNIT:=.d)

# `make run` tries it, `make test` proves it, `make install` keeps it.
CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
CONFIG ?=
MANDIR ?= $(PREFIX)/share/man
LIBDIR ?= $(PREFIX)/lib
UNITDIR ?= $(LIBDIR)/systemd

# Below share/; the first word of each is its shell.
COMPLETIONS = bash-completion/completions/ccgw-manage zsh/site-functions/_ccgw-manage fish/vendor_completions.d/ccgw-manage.fish

MANUALS = man1/ccgw.1 man1/ccgw-manage.1 man5/config.yaml.5

.PHONY: run build test check bench install install-files uninstall static reproducible deb dist test-packaging clean

# Serves as CONFIG says (config.yaml, or without one on 127.0.0.1:3456) and prints a request to try.
# Where the Claude Code CLI is missing the built-in stand-in answers, and says so.
run: build
	@target/release/ccgw --try $(CONFIG)

build:
	$(CARGO) build --release --locked

test:
	$(CARGO) test --locked

# Format, lints, documentation, and the tests that hold the architecture's invariants.
check:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items
	$(CARGO) test --locked --test it architecture

bench: build
	$(CARGO) bench --locked --bench gateway

install: build
	@$(MAKE) --no-print-directory install-files BINARY=target/release/ccgw
	$(if $(DESTDIR),,packaging/activate.sh $(PREFIX))

# What the service, the .deb and a release's tarball need too. BINARY is there already.
install-files:
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/ccgw
	ln -sf ccgw $(DESTDIR)$(PREFIX)/bin/ccgw-manage
	install -D -m 0644 config.example.yaml $(DESTDIR)$(PREFIX)/share/ccgw/config.example.yaml
	install -D -m 0644 openclaw-skill.md $(DESTDIR)$(PREFIX)/share/ccgw/openclaw-skill.md
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,$(dir $(COMPLETIONS)))
	$(foreach file,$(COMPLETIONS),$(DESTDIR)$(PREFIX)/bin/ccgw-manage completions $(firstword $(subst -, ,$(subst /, ,$(file)))) | install -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/share/$(file) && ) true
	install -d $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(PREFIX)/share/doc/ccgw/examples
	install -m 0644 packaging/man/ccgw.1 packaging/man/ccgw-manage.1 $(DESTDIR)$(MANDIR)/man1/
	awk -f packaging/man/config.yaml.5.awk config.example.yaml | install -m 0644 /dev/stdin $(DESTDIR)$(MANDIR)/man5/config.yaml.5
	$(if $(filter compressed,$(MANUAL)),gzip -9nf $(addprefix $(DESTDIR)$(MANDIR)/,$(MANUALS)))
	install -m 0644 README.md CHANGELOG.md $(DESTDIR)$(PREFIX)/share/doc/ccgw/
	install -m 0644 packaging/systemd/root.conf packaging/systemd/network.conf packaging/compose/compose.yaml $(DESTDIR)$(PREFIX)/share/doc/ccgw/examples/
	install -d $(DESTDIR)$(UNITDIR)/system $(DESTDIR)$(UNITDIR)/user $(DESTDIR)$(LIBDIR)/sysusers.d $(DESTDIR)$(LIBDIR)/tmpfiles.d
	sed 's#@BINDIR@#$(PREFIX)/bin#' packaging/systemd/ccgw.service | install -m 0644 /dev/stdin $(DESTDIR)$(UNITDIR)/system/ccgw.service
	sed 's#@BINDIR@#$(PREFIX)/bin#' packaging/systemd/ccgw.user.service | install -m 0644 /dev/stdin $(DESTDIR)$(UNITDIR)/user/ccgw.service
	install -m 0644 packaging/systemd/ccgw.socket $(DESTDIR)$(UNITDIR)/system/
	install -m 0644 packaging/systemd/ccgw.sysusers $(DESTDIR)$(LIBDIR)/sysusers.d/ccgw.conf
	install -m 0644 packaging/systemd/ccgw.tmpfiles $(DESTDIR)$(LIBDIR)/tmpfiles.d/ccgw.conf
	test -e $(DESTDIR)/etc/default/ccgw || install -D -m 0644 packaging/systemd/ccgw.default $(DESTDIR)/etc/default/ccgw

# Configuration, state and the user stay.
uninstall:
	$(if $(DESTDIR),,packaging/activate.sh stop)
	rm -f $(DESTDIR)$(PREFIX)/bin/ccgw $(DESTDIR)$(PREFIX)/bin/ccgw-manage
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/,$(COMPLETIONS)) $(addprefix $(DESTDIR)$(MANDIR)/,$(MANUALS) $(addsuffix .gz,$(MANUALS)))
	rm -f $(DESTDIR)$(UNITDIR)/system/ccgw.service $(DESTDIR)$(UNITDIR)/system/ccgw.socket $(DESTDIR)$(UNITDIR)/user/ccgw.service
	rm -f $(DESTDIR)$(LIBDIR)/sysusers.d/ccgw.conf $(DESTDIR)$(LIBDIR)/tmpfiles.d/ccgw.conf
	rm -rf $(DESTDIR)$(PREFIX)/share/ccgw $(DESTDIR)$(PREFIX)/share/doc/ccgw

# One file without shared libraries, by musl, in target/static/ccgw.
static:
	packaging/static.sh

# Before a release: that a static build is the same bytes wherever it is made. Two whole builds: minutes.
reproducible:
	packaging/reproducible.sh

# target/dist/ccgw_VERSION_ARCH.deb.
deb:
	packaging/deb.sh $$(packaging/static.sh)

# A release: tarball, .deb, list of parts and checksums in target/dist/. `make reproducible` comes first.
dist:
	@command -v jq >/dev/null || { echo 'make dist: jq is not installed, which makes the list of parts: apt install jq' >&2; exit 1; }
	packaging/dist.sh $$(FALLBACK=no packaging/static.sh)

# The packages in a clean Debian, as root: needs debootstrap, lintian and mandoc. Minutes.
test-packaging:
	packaging/test.sh

clean:
	$(CARGO) clean

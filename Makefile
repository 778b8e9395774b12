# `make run` tries it, `make test` proves it, `make install` keeps it.
CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
CONFIG ?=
SYSCONFDIR ?= /etc
MANDIR ?= $(PREFIX)/share/man
LIBDIR ?= $(PREFIX)/lib
UNITDIR ?= $(LIBDIR)/systemd
DOCDIR = $(PREFIX)/share/doc/ccgw

# A release's tarball has the program beside this file, and nothing to build it from.
SOURCES := $(wildcard Cargo.toml)
BINARY ?= $(if $(SOURCES),target/release/ccgw,ccgw)
# Licences of what is in a static program (packaging/notices.sh).
NOTICES ?= $(if $(SOURCES),,THIRD-PARTY-NOTICES)

# What the whole machine has one of, the service with its user and directories: root's or a package's to install.
SYSTEM ?= $(if $(DESTDIR)$(filter 0,$(shell id -u)),yes)
# Where systemd looks for a user's own units: below share/ in a home, below lib/ elsewhere.
USERUNITDIR ?= $(if $(SYSTEM),$(UNITDIR),$(PREFIX)/share/systemd)/user

# Debian's zsh looks in other places below /usr than zsh itself.
ZSHDIR ?= zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)
# Below share/; the first word of each is its shell.
COMPLETIONS = bash-completion/completions/ccgw-manage $(ZSHDIR)/_ccgw-manage fish/vendor_completions.d/ccgw-manage.fish
# Both programs' words are in one script, which these shells look for by the program's name.
ALIASES = bash-completion/completions/ccgw fish/vendor_completions.d/ccgw.fish

# That of the release, as manual pages write it.
DATE = $(shell LC_ALL=C date -d "$$(sed -n 's/^\#\# .* - \(20[0-9-]*\)$$/\1/p' CHANGELOG.md | head -n 1)" '+%B %-d, %Y')
MANUALS = man1/ccgw.1 man1/ccgw-manage.1 man5/config.yaml.5

# What README.md leads to, in the places where it says it is.
DOCUMENTS = README.md README_CN.md CHANGELOG.md packaging/Containerfile packaging/Containerfile.dockerignore packaging/compose/compose.yaml \
	packaging/haproxy/haproxy.cfg packaging/kubernetes/ccgw.yaml packaging/swarm/stack.yaml packaging/recording/ccgw.svg packaging/recording/record.sh

.PHONY: run build built test check bench install install-files install-documents install-system uninstall static reproducible deb dist test-packaging clean

# Serves as CONFIG says (config.yaml, or without one on 127.0.0.1:3456) and prints a request to try.
# Where the Claude Code CLI is missing the built-in stand-in answers, and says so.
run: build
	@$(BINARY) --try $(CONFIG)

build:
	$(if $(SOURCES),$(CARGO) build --release --locked,@true)

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

install: built
	@$(MAKE) --no-print-directory install-files
	$(if $(and $(SYSTEM),$(if $(DESTDIR),,here)),packaging/activate.sh start $(LIBDIR))

# `sudo` has a PATH of its own, without rustup's cargo: then what `make build` made is installed.
built:
	@if command -v $(firstword $(CARGO)) >/dev/null; then $(MAKE) --no-print-directory build; \
	elif test -x $(BINARY); then $(if $(SOURCES),echo 'install: $(CARGO) is not to be found here: installing $(BINARY) as it is',true); \
	else echo 'install: there is no $(BINARY), and $(CARGO) is not to be found here: `make build` as yourself, then `sudo make install`' >&2; exit 1; fi

# What the service, the .deb and a release's tarball need too. BINARY is there already.
install-files:
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/ccgw
	ln -sf ccgw $(DESTDIR)$(PREFIX)/bin/ccgw-manage
	install -D -m 0644 config.example.yaml $(DESTDIR)$(PREFIX)/share/ccgw/config.example.yaml
	install -D -m 0644 openclaw-skill.md $(DESTDIR)$(PREFIX)/share/ccgw/openclaw-skill.md
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,$(dir $(COMPLETIONS)))
	$(foreach file,$(COMPLETIONS),$(DESTDIR)$(PREFIX)/bin/ccgw-manage completions $(firstword $(subst -, ,$(subst /, ,$(file)))) | install -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/share/$(file) && ) true
	$(foreach file,$(ALIASES),ln -sf ccgw-manage$(suffix $(file)) $(DESTDIR)$(PREFIX)/share/$(file) && ) true
	install -d $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5
	$(foreach page,ccgw.1 ccgw-manage.1,sed 's/^[.]Dd .*/.Dd $(DATE)/' packaging/man/$(page) | install -m 0644 /dev/stdin $(DESTDIR)$(MANDIR)/man1/$(page) && ) true
	awk -v date='$(DATE)' -f packaging/man/config.yaml.5.awk config.example.yaml | install -m 0644 /dev/stdin $(DESTDIR)$(MANDIR)/man5/config.yaml.5
	$(if $(filter compressed,$(MANUAL)),gzip -9nf $(addprefix $(DESTDIR)$(MANDIR)/,$(MANUALS)))
	install -d $(DESTDIR)$(USERUNITDIR)
	sed 's#@BINDIR@#$(PREFIX)/bin#' packaging/systemd/ccgw.user.service | install -m 0644 /dev/stdin $(DESTDIR)$(USERUNITDIR)/ccgw.service
	@$(MAKE) --no-print-directory install-documents $(if $(SYSTEM),install-system)
	$(if $(SYSTEM),,@echo 'install: not as root, so without the service of the machine and $(SYSCONFDIR)/default/ccgw; `systemctl --user` has one of yours')

# An image is made of the program that is installed, which must be a static one (the .deb's, a release's).
install-documents:
	$(foreach file,$(DOCUMENTS),install -D -m 0644 $(file) $(DESTDIR)$(DOCDIR)/$(file) && ) true
	$(foreach file,config.example.yaml openclaw-skill.md,ln -sf ../../ccgw/$(file) $(DESTDIR)$(DOCDIR)/$(file) && ) true
	install -d $(DESTDIR)$(DOCDIR)/examples
	install -m 0644 packaging/systemd/root.conf packaging/systemd/network.conf $(DESTDIR)$(DOCDIR)/examples/
	sed -i 's#^ARG PROGRAM=.*#ARG PROGRAM=bin/ccgw#; s#^ARG NOTICES=.*#ARG NOTICES=share/doc/ccgw/THIRD-PARTY-NOTICES#' $(DESTDIR)$(DOCDIR)/packaging/Containerfile
	sed -i 's#context: .*#context: $(PREFIX)#; s#dockerfile: .*#dockerfile: share/doc/ccgw/packaging/Containerfile#' $(DESTDIR)$(DOCDIR)/packaging/compose/compose.yaml
	$(if $(NOTICES),install -m 0644 $(NOTICES) $(DESTDIR)$(DOCDIR)/THIRD-PARTY-NOTICES)

install-system:
	install -d $(DESTDIR)$(UNITDIR)/system $(DESTDIR)$(LIBDIR)/sysusers.d $(DESTDIR)$(LIBDIR)/tmpfiles.d
	sed 's#@BINDIR@#$(PREFIX)/bin#; s#/etc/default/#$(SYSCONFDIR)/default/#' packaging/systemd/ccgw.service | install -m 0644 /dev/stdin $(DESTDIR)$(UNITDIR)/system/ccgw.service
	install -m 0644 packaging/systemd/ccgw.socket $(DESTDIR)$(UNITDIR)/system/
	install -m 0644 packaging/systemd/ccgw.sysusers $(DESTDIR)$(LIBDIR)/sysusers.d/ccgw.conf
	install -m 0644 packaging/systemd/ccgw.tmpfiles $(DESTDIR)$(LIBDIR)/tmpfiles.d/ccgw.conf
	test -e $(DESTDIR)$(SYSCONFDIR)/default/ccgw || install -D -m 0644 packaging/systemd/ccgw.default $(DESTDIR)$(SYSCONFDIR)/default/ccgw

# Configuration, state and the user stay.
uninstall:
	$(if $(and $(SYSTEM),$(if $(DESTDIR),,here)),test ! -e $(UNITDIR)/system/ccgw.service || packaging/activate.sh stop)
	rm -f $(DESTDIR)$(PREFIX)/bin/ccgw $(DESTDIR)$(PREFIX)/bin/ccgw-manage
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/,$(COMPLETIONS) $(ALIASES)) $(addprefix $(DESTDIR)$(MANDIR)/,$(MANUALS) $(addsuffix .gz,$(MANUALS)))
	rm -f $(DESTDIR)$(UNITDIR)/system/ccgw.service $(DESTDIR)$(UNITDIR)/system/ccgw.socket $(DESTDIR)$(USERUNITDIR)/ccgw.service
	rm -f $(DESTDIR)$(LIBDIR)/sysusers.d/ccgw.conf $(DESTDIR)$(LIBDIR)/tmpfiles.d/ccgw.conf
	rm -rf $(DESTDIR)$(PREFIX)/share/ccgw $(DESTDIR)$(DOCDIR)
	$(if $(and $(SYSTEM),$(if $(DESTDIR),,here)),packaging/activate.sh reload)

# One file without shared libraries, by musl, in target/static/ccgw, and the licences of its parts beside it.
static:
	packaging/static.sh
	packaging/notices.sh target/static/ccgw >target/static/THIRD-PARTY-NOTICES

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

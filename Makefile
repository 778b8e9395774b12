# `make run` tries it, `make test` proves it, `make install` keeps it.
CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
CONFIG ?=

# Below share/; the first word of each is its shell.
COMPLETIONS = bash-completion/completions/ccgw-manage zsh/site-functions/_ccgw-manage fish/vendor_completions.d/ccgw-manage.fish

.PHONY: run build test check bench install uninstall static clean

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
	install -D -m 0755 target/release/ccgw $(DESTDIR)$(PREFIX)/bin/ccgw
	ln -sf ccgw $(DESTDIR)$(PREFIX)/bin/ccgw-manage
	install -D -m 0644 config.example.yaml $(DESTDIR)$(PREFIX)/share/ccgw/config.example.yaml
	install -D -m 0644 openclaw-skill.md $(DESTDIR)$(PREFIX)/share/ccgw/openclaw-skill.md
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,$(dir $(COMPLETIONS)))
	$(foreach file,$(COMPLETIONS),$(DESTDIR)$(PREFIX)/bin/ccgw-manage completions $(firstword $(subst -, ,$(subst /, ,$(file)))) > $(DESTDIR)$(PREFIX)/share/$(file) && ) true

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/ccgw $(DESTDIR)$(PREFIX)/bin/ccgw-manage
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/,$(COMPLETIONS))
	rm -rf $(DESTDIR)$(PREFIX)/share/ccgw

# One file without shared libraries: musl where its target is installed, else glibc linked statically.
static:
	packaging/static.sh

clean:
	$(CARGO) clean

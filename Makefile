# What people do here. `make run` and `make test` are the two commands of the README.

CARGO ?= cargo

.PHONY: run build console test lint format audit docs bench soak clean

run: console ## build the server in a quarter of an hour on two cores, and run it
	$(CARGO) build --profile quick --locked -p devmesh
	./target/quick/devmesh serve

build: console ## both programs, as fast as they get: it takes twice as long
	$(CARGO) build --release --locked

console: backend/console/dist/index.html

backend/console/dist/index.html: $(shell find backend/console/src backend/console/public -type f 2>/dev/null) \
		$(wildcard backend/console/*.json backend/console/*.html backend/console/*.ts)
	# Not `npm ci`: a registry that serves only some platforms' optional packages leaves a lock file that ci refuses.
	cd backend/console && npm install --no-save --no-audit --no-fund && npm run build

test: ## install what the tests need, then run them all
	tests/install.sh
	$(MAKE) console
	$(CARGO) test --locked --workspace --no-fail-fast
	$(CARGO) test --locked -p devmesh-graph --features neo4j --test graph
	cd tests/browser && DEVMESH_BIN=$(CURDIR)/target/debug/devmesh npm test

lint: ## what a submission has to pass besides the tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --locked --workspace --no-deps --document-private-items

format:
	$(CARGO) fmt --all

audit: ## licences, advisories, sources and bans of all dependencies (needs cargo-deny)
	$(CARGO) deny --all-features check

docs: ## the reference page of the settings, from the settings themselves
	$(CARGO) run -q -p devmesh -- config --reference > docs/configuration.md

bench: build ## the figures of the README
	$(CARGO) run --release --locked -p devmesh-tests --bin bench

soak: ## thousands of kills, and every query beside a real Prometheus: hours
	$(CARGO) test --locked --workspace --no-run
	TEST_PROMQL_EVERY=1 $(CARGO) test --locked -p devmesh-tests --test prometheus
	TEST_KILLS=5000 $(CARGO) test --locked -p devmesh-tests --test kill -- --nocapture

clean:
	$(CARGO) clean
	rm -rf backend/console/dist backend/console/node_modules tests/browser/node_modules

//! The graph in Neo4j 5, by Bolt: nodes have the label `Devmesh` and that of their kind, edges the relation as their type, so that
//! people ask it in Cypher: `MATCH (s:Service)-[c:CALLS]->(t) RETURN s.name, t.name, c.count`.
//!
//! What strangers name is a parameter, never a part of a statement. One set of changes is one transaction. Every question has
//! a time limit, after which it fails and may be asked again; where the outcome of a transaction is not known, its figures may
//! count twice, its nodes and edges not. The password is never shown.

use std::{collections::HashMap, fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use devmesh_schema::{TimestampNs, limits};
use neo4rs::{BoltMap, BoltType, ConfigBuilder, Query, Row, query};
use tokio::{sync::OnceCell, time::timeout};

use crate::{
    Around, Error, Graph, NodeQuery, Part, Path, Range,
    model::{Changes, Edge, Figures, Kind, Node, Properties, Relation, Seen, Size},
};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that are kept.
const CONNECTIONS: usize = 4;
/// Rows of one statement.
const ROWS: usize = 5_000;
/// Nodes that one transaction deletes.
const DELETED: usize = 2_000;

/// The columns of a node `n`.
const NODE: &str = "n.id AS id, n.kind AS kind, n.name AS name, n.first_seen AS first, n.last_seen AS last, n.count AS count, \
    n.errors AS errors, n.duration_ns AS duration, [k IN keys(n) WHERE NOT k IN $own | k] AS keys, \
    [k IN keys(n) WHERE NOT k IN $own | toString(n[k])] AS values";
/// The columns of an edge `e`.
const EDGE: &str = "startNode(e).id AS from, endNode(e).id AS to, type(e) AS relation, e.first_seen AS first, \
    e.last_seen AS last, e.count AS count, e.errors AS errors, e.duration_ns AS duration, \
    [k IN keys(e) WHERE NOT k IN $own | k] AS keys, [k IN keys(e) WHERE NOT k IN $own | toString(e[k])] AS values";
/// Properties of nodes and edges that are none of [`Properties`].
const OWN: [&str; 9] = ["id", "kind", "name", "first_seen", "last_seen", "count", "errors", "duration_ns", "touched"];

/// Where the database is.
#[derive(Clone)]
pub struct Settings {
    /// `bolt://host:7687`, or `bolt+s://…` for TLS.
    pub uri: String,
    /// Its user.
    pub user: String,
    /// And the password.
    pub password: String,
    /// The database's name.
    pub database: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uri, user, database, .. } = self;
        f.debug_struct("Settings")
            .field("uri", uri)
            .field("user", user)
            .field("database", database)
            .finish_non_exhaustive()
    }
}

/// The graph in a Neo4j.
pub struct Neo4j {
    settings: Settings,
    /// Made when it is first needed, and found fit.
    client: OnceCell<neo4rs::Graph>,
}

impl fmt::Debug for Neo4j {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Neo4j").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn failed(error: &neo4rs::Error) -> Error {
    Error::Database(error.to_string())
}

async fn within<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Database(format!("it has not answered within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, asked).await.unwrap_or_else(|_elapsed| Err(late()))
}

impl Neo4j {
    /// A graph in the database of these settings. It is reached when it is first needed.
    pub fn new(settings: Settings) -> Self {
        Self { settings, client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&neo4rs::Graph, Error> {
        let connect = async || {
            let Settings { uri, user, password, database } = &self.settings;
            let config = ConfigBuilder::default()
                .uri(uri)
                .user(user)
                .password(password)
                .db(database.as_str())
                .max_connections(CONNECTIONS)
                .fetch_size(1_000)
                .build()
                .map_err(|error| failed(&error))?;
            let client = neo4rs::Graph::connect(config).await.map_err(|error| failed(&error))?;
            for statement in [
                "CREATE CONSTRAINT devmesh_id IF NOT EXISTS FOR (n:Devmesh) REQUIRE n.id IS UNIQUE",
                "CREATE INDEX devmesh_touched IF NOT EXISTS FOR (n:Devmesh) ON (n.touched)",
            ] {
                client.run(query(statement)).await.map_err(|error| failed(&error))?;
            }
            Ok(client)
        };
        self.client.get_or_try_init(connect).await
    }

    async fn rows(&self, asked: Query) -> Result<Vec<Row>, Error> {
        within(async {
            let mut stream = self.client().await?.execute(asked).await.map_err(|error| failed(&error))?;
            let mut rows = Vec::new();
            while let Some(row) = stream.next().await.map_err(|error| failed(&error))? {
                rows.push(row);
            }
            Ok(rows)
        })
        .await
    }

    async fn count(&self, asked: Query) -> Result<usize, Error> {
        let rows = self.rows(asked).await?;
        let count = rows.first().map_or(Ok(0), |row| get::<i64>(row, "count"))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    async fn nodes_of(&self, ids: &[Arc<str>]) -> Result<Vec<Node>, Error> {
        let asked = format!("UNWIND $ids AS id MATCH (n:Devmesh {{id: id}}) RETURN {NODE}");
        let rows = self.rows(with_own(&asked).param("ids", texts(ids))).await?;
        let mut nodes: HashMap<Arc<str>, Node> = HashMap::new();
        for row in &rows {
            let node = node(row)?;
            nodes.insert(Arc::clone(&node.id), node);
        }
        Ok(ids.iter().filter_map(|id| nodes.remove(id)).collect())
    }

    async fn way(&self, from: &str, to: &str, range: Range, arrow: &str) -> Result<Option<Part>, Error> {
        let asked = format!(
            "MATCH (a:Devmesh {{id: $from}}), (b:Devmesh {{id: $to}}) \
             MATCH p = shortestPath((a)-[*..{}]-{arrow}(b)) \
             WHERE all(r IN relationships(p) WHERE r.first_seen < $end AND r.last_seen >= $start) \
             UNWIND range(0, length(p) - 1) AS at WITH p, relationships(p)[at] AS e, nodes(p)[at + 1].id AS next \
             RETURN next, {EDGE}",
            limits::GRAPH_PATH
        );
        let rows = self.rows(ranged(with_own(&asked), range).param("from", from).param("to", to)).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut part = Part::default();
        let mut ids: Vec<Arc<str>> = vec![from.into()];
        for row in &rows {
            ids.push(get::<String>(row, "next")?.into());
            part.edges.push(edge(row)?);
        }
        part.nodes = self.nodes_of(&ids).await?;
        part.distances = (0..part.nodes.len()).collect();
        Ok(Some(part))
    }
}

fn get<'a, T: serde::Deserialize<'a>>(row: &'a Row, name: &str) -> Result<T, Error> {
    row.get(name)
        .map_err(|error| Error::Database(format!("its answer has another shape than asked for: {name}: {error}")))
}

fn with_own(asked: &str) -> Query {
    query(asked).param("own", OWN.map(str::to_owned).to_vec())
}

fn ranged(asked: Query, range: Range) -> Query {
    asked.param("start", range.start).param("end", range.end)
}

fn texts(ids: &[Arc<str>]) -> Vec<String> {
    ids.iter().map(|id| id.to_string()).collect()
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What nodes and edges have in common.
fn shared(row: &Row) -> Result<(Seen, Figures, Properties), Error> {
    let count = |name| get::<i64>(row, name).map(|value| u64::try_from(value).unwrap_or(0));
    let seen = Seen { first: get(row, "first")?, last: get(row, "last")? };
    let figures = Figures { count: count("count")?, errors: count("errors")?, duration_ns: count("duration")? };
    let (keys, values) = (get::<Vec<String>>(row, "keys")?, get::<Vec<String>>(row, "values")?);
    Ok((seen, figures, keys.into_iter().zip(values).collect()))
}

fn node(row: &Row) -> Result<Node, Error> {
    let (seen, figures, properties) = shared(row)?;
    let kind = get::<String>(row, "kind")?;
    let kind = Kind::of(&kind).ok_or_else(|| Error::Database(format!("it has a node of the unknown kind `{kind}`")))?;
    let (id, name) = (get::<String>(row, "id")?.into(), get::<String>(row, "name")?.into());
    Ok(Node { id, kind, name, properties, seen, figures })
}

fn edge(row: &Row) -> Result<Edge, Error> {
    let (seen, figures, properties) = shared(row)?;
    let relation = get::<String>(row, "relation")?;
    let unknown = || Error::Database(format!("it has an edge of the unknown type `{relation}`"));
    let relation = Relation::of(&relation).ok_or_else(unknown)?;
    let (from, to) = (get::<String>(row, "from")?.into(), get::<String>(row, "to")?.into());
    Ok(Edge { from, to, relation, properties, seen, figures })
}

fn change(seen: Seen, figures: Figures, properties: &Properties, more: &[(&str, &str)]) -> BoltType {
    let mut map = BoltMap::new();
    let Figures { count, errors, duration_ns } = figures;
    let numbers = [
        ("first", seen.first),
        ("last", seen.last),
        ("count", number(count)),
        ("errors", number(errors)),
        ("duration", number(duration_ns)),
    ];
    numbers.into_iter().for_each(|(name, value)| map.put(name.into(), value.into()));
    more.iter().for_each(|(name, value)| map.put((*name).into(), (*value).into()));
    let mut others = BoltMap::new();
    let known = properties.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
    known.for_each(|(name, value)| others.put(name.as_str().into(), value.as_str().into()));
    map.put("properties".into(), BoltType::Map(others));
    BoltType::Map(map)
}

/// Adds figures and widens the time of `x`, which `r` was seen as.
const ADD: &str = "x.first_seen = CASE WHEN f < r.first THEN f ELSE r.first END, \
    x.last_seen = CASE WHEN l > r.last THEN l ELSE r.last END, x.count = c + r.count, x.errors = b + r.errors, \
    x.duration_ns = d + r.duration, x.touched = $now";
const BEFORE: &str = "coalesce(x.first_seen, r.first) AS f, coalesce(x.last_seen, r.last) AS l, coalesce(x.count, 0) AS c, \
    coalesce(x.errors, 0) AS b, coalesce(x.duration_ns, 0) AS d";

/// The statements that write changes, with their rows.
fn statements(changes: &Changes) -> Vec<Query> {
    let mut statements = Vec::new();
    let gone = texts(&changes.gone);
    if !gone.is_empty() {
        statements.push(query("UNWIND $ids AS id MATCH (n:Devmesh {id: id}) DETACH DELETE n").param("ids", gone));
    }
    for kind in Kind::ALL {
        let name = kind.name();
        let asked = format!(
            "UNWIND $rows AS r MERGE (x:Devmesh {{id: r.id}}) SET x:{name} WITH x, r, {BEFORE} SET x += r.properties \
             SET x.kind = '{name}', x.name = coalesce(x.name, r.name), {ADD}"
        );
        let nodes = changes.nodes.iter().filter(|node| node.kind == kind);
        let rows: Vec<BoltType> =
            nodes.map(|n| change(n.seen, n.figures, &n.properties, &[("id", &n.id), ("name", &n.name)])).collect();
        let chunks = rows.chunks(ROWS).map(|rows| query(&asked).param("rows", rows.to_vec()).param("now", changes.now));
        statements.extend(chunks);
    }
    for relation in Relation::ALL {
        let asked = format!(
            "UNWIND $rows AS r MATCH (a:Devmesh {{id: r.from}}), (b:Devmesh {{id: r.to}}) MERGE (a)-[x:{}]->(b) \
             WITH x, r, {BEFORE} SET x = r.properties SET {ADD}",
            relation.name()
        );
        let edges = changes.edges.iter().filter(|edge| edge.relation == relation);
        let rows: Vec<BoltType> =
            edges.map(|e| change(e.seen, e.figures, &e.properties, &[("from", &e.from), ("to", &e.to)])).collect();
        let chunks = rows.chunks(ROWS).map(|rows| query(&asked).param("rows", rows.to_vec()).param("now", changes.now));
        statements.extend(chunks);
    }
    if let Some(taken) = changes.taken {
        let asked =
            "MERGE (m:DevmeshState {id: 'taken'}) SET m.time = CASE WHEN m.time > $taken THEN m.time ELSE $taken END";
        statements.push(query(asked).param("taken", taken));
    }
    statements
}

#[async_trait]
impl Graph for Neo4j {
    async fn apply(&self, changes: &Changes) -> Result<(), Error> {
        let statements = statements(changes);
        within(async {
            let mut transaction = self.client().await?.start_txn().await.map_err(|error| failed(&error))?;
            for statement in statements {
                if let Err(error) = transaction.run(statement).await {
                    // What was written is taken back with the connection, if not by this.
                    drop(transaction.rollback().await);
                    return Err(failed(&error));
                }
            }
            transaction.commit().await.map_err(|error| failed(&error))
        })
        .await
    }

    async fn nodes(&self, asked: &NodeQuery) -> Result<Part, Error> {
        let text = asked.text.as_deref().map(str::to_lowercase);
        let mut conditions = vec!["n.first_seen < $end AND n.last_seen >= $start"];
        if asked.kind.is_some() {
            conditions.push("n.kind = $kind");
        }
        if text.is_some() {
            conditions.push("(toLower(n.name) CONTAINS $text OR toLower(n.id) CONTAINS $text)");
        }
        let statement = format!(
            "MATCH (n:Devmesh) WHERE {} RETURN {NODE} ORDER BY n.kind, n.name, n.id LIMIT $limit",
            conditions.join(" AND ")
        );
        let limit = i64::try_from(asked.limit).unwrap_or(i64::MAX - 1) + 1;
        let query = ranged(with_own(&statement), asked.range)
            .param("limit", limit)
            .param("kind", asked.kind.map_or("", Kind::name))
            .param("text", text.unwrap_or_default());
        let mut nodes = self.rows(query).await?.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        let truncated = nodes.len() > asked.limit;
        nodes.truncate(asked.limit);
        Ok(Part { nodes, truncated, ..Part::default() })
    }

    async fn edges(&self, range: Range, limit: usize) -> Result<Part, Error> {
        let statement = format!(
            "MATCH (:Devmesh)-[e]->(:Devmesh) WHERE e.first_seen < $end AND e.last_seen >= $start \
             RETURN {EDGE} ORDER BY from, to, relation LIMIT $limit"
        );
        let most = i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1;
        let rows = self.rows(ranged(with_own(&statement), range).param("limit", most)).await?;
        let mut edges = rows.iter().map(edge).collect::<Result<Vec<_>, _>>()?;
        let truncated = edges.len() > limit;
        edges.truncate(limit);
        Ok(Part { edges, truncated, ..Part::default() })
    }

    async fn neighbours(&self, id: &str, around: Around) -> Result<Option<Part>, Error> {
        let start: Arc<str> = id.into();
        if self.nodes_of(std::slice::from_ref(&start)).await?.is_empty() {
            return Ok(None);
        }
        let mut part = Part::default();
        let (mut ids, mut level) = (vec![Arc::clone(&start)], vec![start]);
        part.distances.push(0);
        for distance in 1..=around.depth {
            let asked = "MATCH (a:Devmesh)-[e]-(b:Devmesh) WHERE a.id IN $level AND NOT b.id IN $known \
                AND e.first_seen < $end AND e.last_seen >= $start RETURN DISTINCT b.id AS id ORDER BY id LIMIT $limit";
            let room = around.limit.saturating_sub(ids.len());
            let asked = ranged(query(asked), around.range)
                .param("level", texts(&level))
                .param("known", texts(&ids))
                .param("limit", i64::try_from(room).unwrap_or(i64::MAX - 1) + 1);
            let rows = self.rows(asked).await?;
            let mut next = rows
                .iter()
                .map(|row| Ok(get::<String>(row, "id")?.into()))
                .collect::<Result<Vec<Arc<str>>, Error>>()?;
            if next.len() > room {
                next.truncate(room);
                part.truncated = true;
            }
            if next.is_empty() {
                break;
            }
            part.distances.extend(next.iter().map(|_| distance));
            ids.extend(next.iter().cloned());
            level = next;
        }
        part.nodes = self.nodes_of(&ids).await?;
        let asked = format!(
            "MATCH (a:Devmesh)-[e]->(b:Devmesh) WHERE a.id IN $ids AND b.id IN $ids AND e.first_seen < $end \
             AND e.last_seen >= $start RETURN {EDGE} ORDER BY from, to, relation LIMIT $limit"
        );
        let most = i64::try_from(limits::GRAPH_ANSWER_EDGES).unwrap_or(i64::MAX - 1) + 1;
        let asked = ranged(with_own(&asked), around.range).param("ids", texts(&ids)).param("limit", most);
        part.edges = self.rows(asked).await?.iter().map(edge).collect::<Result<_, _>>()?;
        if part.edges.len() > limits::GRAPH_ANSWER_EDGES {
            part.edges.truncate(limits::GRAPH_ANSWER_EDGES);
            part.truncated = true;
        }
        Ok(Some(part))
    }

    async fn path(&self, from: &str, to: &str, range: Range) -> Result<Option<Path>, Error> {
        if from == to {
            let nodes = self.nodes_of(&[from.into()]).await?;
            let part = Part { nodes, distances: vec![0], ..Part::default() };
            return Ok((!part.nodes.is_empty()).then_some(Path { part, directed: true }));
        }
        if let Some(part) = self.way(from, to, range, ">").await? {
            return Ok(Some(Path { part, directed: true }));
        }
        Ok(self.way(from, to, range, "").await?.map(|part| Path { part, directed: false }))
    }

    async fn prune(&self, before: TimestampNs, nodes: usize) -> Result<usize, Error> {
        let all = self.count(query("MATCH (n:Devmesh) RETURN count(n) AS count")).await?;
        let old = query("MATCH (n:Devmesh) WHERE n.touched < $before RETURN count(n) AS count").param("before", before);
        let old = self.count(old).await?;
        let gone = all.saturating_sub(nodes).max(old);
        let mut left = gone;
        while left > 0 {
            let now = left.min(DELETED);
            let asked = "MATCH (n:Devmesh) WITH n ORDER BY n.touched, n.id LIMIT $limit DETACH DELETE n";
            self.rows(query(asked).param("limit", i64::try_from(now).unwrap_or(0))).await?;
            left -= now;
        }
        let stale = "MATCH (:Devmesh)-[e]->(:Devmesh) WHERE e.touched < $before DELETE e";
        self.rows(query(stale).param("before", before)).await?;
        Ok(gone)
    }

    async fn size(&self) -> Result<Size, Error> {
        let nodes = self.count(query("MATCH (n:Devmesh) RETURN count(n) AS count")).await?;
        let edges = self.count(query("MATCH (:Devmesh)-[e]->(:Devmesh) RETURN count(e) AS count")).await?;
        Ok(Size { nodes, edges, refused: 0 })
    }

    async fn taken(&self) -> Result<Option<TimestampNs>, Error> {
        let rows = self.rows(query("MATCH (m:DevmeshState {id: 'taken'}) RETURN m.time AS time")).await?;
        rows.first().map(|row| get(row, "time")).transpose()
    }

    async fn keep(&self) -> Result<(), Error> {
        // What was applied is kept by the database.
        Ok(())
    }
}

//! Expanding a parsed template.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use super::{
    DEPTH, Data, OUTPUT_BYTES, STEPS, functions,
    parse::{Expr, Node, Pipe, Tree},
    time,
    value::Value,
};

/// Why a list of nodes ended before its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// What an expansion has at hand.
pub(super) struct Run<'a> {
    tree: &'a Tree,
    pub(super) data: Data<'a>,
    out: String,
    variables: Vec<(String, Value)>,
    steps: Cell<usize>,
    depth: usize,
}

/// Expands the root.
pub(super) fn expand(tree: &Tree, data: Data<'_>) -> Result<String, String> {
    let labels = |map: &BTreeMap<String, String>| Value::Labels(Arc::new(map.clone()));
    let own = labels(data.labels);
    let external = labels(data.external_labels);
    let url = Value::text(data.external_url);
    let value = Value::Float(data.value);
    let names = ["Labels", "ExternalLabels", "ExternalURL", "Value"];
    let values = [own, external, url, value];
    let dot: BTreeMap<String, Value> = names.iter().map(|n| (*n).to_owned()).zip(values.iter().cloned()).collect();
    let dot = Value::Map(Arc::new(dot));
    let mut variables = vec![("$".to_owned(), dot.clone())];
    variables.extend(super::PREDEFINED.iter().map(|name| (*name).to_owned()).zip(values));
    let mut run = Run { tree, data, out: String::new(), variables, steps: Cell::new(0), depth: 0 };
    run.list(&tree.root, &dot)?;
    Ok(run.out)
}

impl Run<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn step(&self) -> Result<(), String> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > STEPS { Err(format!("it takes more than {STEPS} steps")) } else { Ok(()) }
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        if self.out.len() + text.len() > OUTPUT_BYTES {
            return Err(format!("it writes more than {OUTPUT_BYTES} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        self.step()?;
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.names.is_empty() {
                    self.write(&value.show())?;
                }
            }
            Node::If(pipe, body, other) | Node::With(pipe, body, other) => {
                let scope = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                let within = if matches!(node, Node::With(..)) { &value } else { dot };
                let flow = if value.is_true() { self.list(body, within) } else { self.list(other, dot) };
                self.variables.truncate(scope);
                return flow;
            }
            Node::Range(pipe, body, other) => return self.range(pipe, (body, other), dot),
            Node::Call(name, pipe) => self.call(name, pipe.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(&mut self, pipe: &Pipe, (body, other): (&[Node], &[Node]), dot: &Value) -> Result<Flow, String> {
        let scope = self.variables.len();
        let over = self.commands(pipe, dot)?;
        let items: Vec<(Value, Value)> = match over {
            Value::Nil => Vec::new(),
            Value::List(list) => (0..).map(Value::Int).zip(list.iter().cloned()).collect(),
            Value::Labels(map) => {
                map.iter().map(|(name, value)| (Value::text(name), Value::text(value.as_str()))).collect()
            }
            Value::Map(map) => map.iter().map(|(name, value)| (Value::text(name), value.clone())).collect(),
            Value::Int(count) if count <= STEPS as i64 => (0..count).map(|n| (Value::Int(n), Value::Int(n))).collect(),
            other => return Err(format!("range can't iterate over {}", other.show())),
        };
        if items.is_empty() {
            let flow = self.list(other, dot);
            self.variables.truncate(scope);
            return flow;
        }
        for (key, value) in items {
            match pipe.names.as_slice() {
                [] => {}
                [one] => self.set(one, value.clone(), pipe.declares),
                [first, second, ..] => {
                    self.set(first, key, pipe.declares);
                    self.set(second, value.clone(), pipe.declares);
                }
            }
            let flow = self.list(body, &value)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn call(&mut self, name: &str, pipe: Option<&Pipe>, dot: &Value) -> Result<(), String> {
        let tree = self.tree;
        let body = tree.defined.get(name).ok_or_else(|| format!("template {name:?} not defined"))?;
        let value = pipe.map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("templates call each other deeper than {DEPTH}"));
        }
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), value.clone())]);
        self.list(body, &value)?;
        self.variables = outer;
        self.depth -= 1;
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value, declares: bool) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, place)) if !declares => *place = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.names {
            self.set(name, value.clone(), pipe.declares);
        }
        Ok(value)
    }

    fn commands(&self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipe.commands {
            self.step()?;
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(&self, command: &[Expr], piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let Some((first, args)) = command.split_first() else { return Err("missing value for command".to_owned()) };
        let args = |run: &Self| -> Result<Vec<Value>, String> {
            let mut all: Vec<Value> = args.iter().map(|arg| run.expr(arg, dot)).collect::<Result<_, _>>()?;
            all.extend(piped.clone());
            Ok(all)
        };
        match first {
            Expr::Function(name) if name == "and" || name == "or" => {
                self.shortcut(name == "or", &command[1..], piped, dot)
            }
            Expr::Function(name) => {
                functions::call(self, name, args(self)?).map_err(|error| format!("error calling {name}: {error}"))
            }
            Expr::Chain(base, fields) => {
                let Some((last, before)) = fields.split_last() else { return self.expr(base, dot) };
                let mut value = self.expr(base, dot)?;
                for field in before {
                    value = value.field(field)?;
                }
                let args = args(self)?;
                if let Some(result) = method(&value, last, &args) {
                    return result;
                }
                if args.is_empty() { value.field(last) } else { Err(format!("{last} has arguments but is no method")) }
            }
            other => {
                if args(self)?.is_empty() {
                    self.expr(other, dot)
                } else {
                    Err("can't give argument to non-function".to_owned())
                }
            }
        }
    }

    /// `and` and `or` look at no more arguments than they need.
    fn shortcut(&self, or: bool, args: &[Expr], piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for arg in args {
            let value = self.expr(arg, dot)?;
            if value.is_true() == or {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| "wrong number of args: want at least 1 got 0".to_owned())
    }

    fn expr(&self, expr: &Expr, dot: &Value) -> Result<Value, String> {
        self.step()?;
        match expr {
            Expr::Dot => Ok(dot.clone()),
            Expr::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone()).ok_or_else(|| format!("undefined variable: {name}"))
            }
            Expr::Const(value) => Ok(value.clone()),
            Expr::Paren(pipe) => self.commands(pipe, dot),
            Expr::Function(_) | Expr::Chain(..) => self.command(std::slice::from_ref(expr), None, dot),
        }
    }
}

/// What a time or a length of time can be asked.
fn method(value: &Value, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let (time, length) = match value {
        Value::Time(ns) => (Some(*ns), None),
        Value::Duration(ns) => (None, Some(*ns)),
        _ => return None,
    };
    let result = match (name, time, length, args) {
        ("Format", Some(ns), _, [layout]) => layout.as_text().map(|layout| Value::Text(time::format(ns, layout))),
        ("String", ..) => Ok(Value::Text(value.show())),
        ("Seconds", _, Some(ns), []) => Ok(Value::Float(ns as f64 / 1e9)),
        ("Minutes", _, Some(ns), []) => Ok(Value::Float(ns as f64 / 60e9)),
        ("Hours", _, Some(ns), []) => Ok(Value::Float(ns as f64 / 3_600e9)),
        ("Milliseconds", _, Some(ns), []) => Ok(Value::Int(ns / 1_000_000)),
        (_, Some(ns), _, []) => {
            time::method(ns, name).map(Value::Int).ok_or_else(|| format!("can't evaluate field {name} in type time"))
        }
        _ => Err(format!("can't evaluate field {name} in type {}", value.kind())),
    };
    Some(result)
}

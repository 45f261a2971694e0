//! What may be asked: one statement that only reads, of bounded size (reliability.md §4.13 S10, S12; §6.I).
//!
//! Size is checked on the tokens, before a parser recurses over them; form on the syntax tree; cost on the plan.

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    logical_expr::{Expr, LogicalPlan},
    sql::{
        parser::{DFParserBuilder, Statement},
        sqlparser::{
            ast::{Expr as SqlExpr, Statement as Sql, visit_expressions},
            dialect::GenericDialect,
            keywords::Keyword,
            tokenizer::{Token, Tokenizer, Whitespace, Word},
        },
    },
};

use crate::{error::Error, limits};

const DIALECT: GenericDialect = GenericDialect {};

/// Parses a query. `cased` are the names with capitals that the ClickHouse exporter's tables have: where one of those
/// tables is asked, they need no quotes.
pub(crate) fn parse(sql: &str, cased: &HashSet<String>) -> Result<Statement, Error> {
    if sql.len() > limits::TEXT_BYTES {
        return Err(limit("the text of a query", format!("{} bytes", limits::TEXT_BYTES), "ask in several queries"));
    }
    let mut tokens = Tokenizer::new(&DIALECT, sql).tokenize().map_err(|error| Error::BadQuery(error.to_string()))?;
    check_tokens(&tokens)?;
    let quoted = quote_cased(&mut tokens, cased);
    let text: String = if quoted { tokens.iter().map(ToString::to_string).collect() } else { sql.into() };
    let mut statements = DFParserBuilder::new(text.as_str())
        .with_dialect(&DIALECT)
        .with_recursion_limit(limits::NESTING * 2)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(Error::from)?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => {
            let statement = reads_only(statement)?;
            check_expressions(&statement)?;
            Ok(statement)
        }
        (None, _) => Err(Error::BadQuery("there is no query; ask for example SELECT * FROM logs LIMIT 10".into())),
        (Some(_), more) => Err(Error::BadQuery(format!("there are {} statements; ask one at a time", more + 1))),
    }
}

fn limit(what: &'static str, limit: String, advice: &'static str) -> Error {
    Error::Limit { what, limit, advice }
}

fn check_tokens(tokens: &[Token]) -> Result<(), Error> {
    let (mut count, mut depth, mut unions, mut joins, mut cases) = (0usize, 0usize, 0usize, 0usize, 0usize);
    for token in tokens {
        match token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Word(Word { keyword, quote_style: None, .. }) => match keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => unions += 1,
                Keyword::JOIN => joins += 1,
                Keyword::CASE => cases += 1,
                _ => {}
            },
            _ => {}
        }
        count += 1;
        if depth > limits::NESTING || cases > limits::NESTING * 4 {
            return Err(limit("nesting", format!("{} levels", limits::NESTING), "take the inner queries apart"));
        }
    }
    if count > limits::TOKENS {
        return Err(limit(
            "the length of a query",
            format!("{} words and signs", limits::TOKENS),
            "ask in several queries",
        ));
    }
    if unions >= limits::UNIONS {
        return Err(limit("UNION", format!("{} parts", limits::UNIONS), "ask in several queries"));
    }
    if joins > limits::JOINS {
        return Err(limit("JOIN", format!("{} joins", limits::JOINS), "ask in several queries"));
    }
    Ok(())
}

/// Counts what a reader would call the parts of its expressions. The stack of the engine's threads is deep enough for
/// whatever [`limits::TOKENS`] tokens can nest.
fn check_expressions(statement: &Statement) -> Result<(), Error> {
    let sql = match statement {
        Statement::Statement(sql) => sql,
        Statement::Explain(explain) => match explain.statement.as_ref() {
            Statement::Statement(sql) => sql,
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    let (mut expressions, mut in_list) = (0usize, 0usize);
    let done: ControlFlow<()> = visit_expressions(sql, |expr| {
        expressions += 1;
        if let SqlExpr::InList { list, .. } = expr {
            expressions = expressions.saturating_sub(list.len());
            in_list = in_list.max(list.len());
        }
        ControlFlow::Continue(())
    });
    debug_assert!(done.is_continue(), "nothing ends the walk early");
    if in_list > limits::IN_LIST {
        return Err(limit(
            "IN",
            format!("{} values", limits::IN_LIST),
            "join with a sub-query, or ask in several queries",
        ));
    }
    if expressions > limits::EXPRESSIONS {
        return Err(limit("expressions", format!("{} parts", limits::EXPRESSIONS), "ask in several queries"));
    }
    Ok(())
}

/// Puts quotes around the exporter's names where a query speaks to its tables. Whether anything changed.
fn quote_cased(tokens: &mut [Token], cased: &HashSet<String>) -> bool {
    let is_word = |token: &Token| matches!(token, Token::Word(word) if word.quote_style.is_none());
    let speaks_exporter = tokens.iter().any(|token| match token {
        Token::Word(word) => word.value.to_ascii_lowercase().starts_with("otel_"),
        _ => false,
    });
    if !speaks_exporter {
        return false;
    }
    let mut changed = false;
    for place in 0..tokens.len() {
        let next = tokens[place + 1..].iter().find(|token| {
            !matches!(token, Token::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab))
        });
        // `Count(…)` is a function, `Timestamp '…'` a literal.
        let is_name = !matches!(next, Some(Token::LParen | Token::SingleQuotedString(_)));
        if is_name
            && is_word(&tokens[place])
            && let Token::Word(word) = &mut tokens[place]
            && cased.contains(&word.value)
        {
            word.quote_style = Some('"');
            changed = true;
        }
    }
    changed
}

fn reads_only(statement: Statement) -> Result<Statement, Error> {
    let refuse = || {
        Err(Error::BadQuery(
            "only queries are answered here: SELECT, EXPLAIN, SHOW TABLES, SHOW COLUMNS FROM, DESCRIBE".into(),
        ))
    };
    match &statement {
        Statement::Statement(sql) => match sql.as_ref() {
            Sql::Query(query) => {
                let tables = query.with.as_ref().map_or(0, |with| with.cte_tables.len());
                if tables > limits::COMMON_TABLES {
                    let limit_text = format!("{} named sub-queries", limits::COMMON_TABLES);
                    return Err(limit("WITH", limit_text, "ask in several queries"));
                }
                if query.with.as_ref().is_some_and(|with| with.recursive) {
                    return Err(Error::BadQuery("WITH RECURSIVE is not supported".into()));
                }
                Ok(statement)
            }
            Sql::ShowTables { .. } | Sql::ShowColumns { .. } | Sql::ExplainTable { .. } => Ok(statement),
            _ => refuse(),
        },
        Statement::Explain(explain) => match explain.statement.as_ref() {
            Statement::Statement(sql) if matches!(sql.as_ref(), Sql::Query(_)) => Ok(statement),
            _ => refuse(),
        },
        _ => refuse(),
    }
}

/// Whether a statement is one whose rows an outer LIMIT may cut.
pub(crate) fn is_query(statement: &Statement) -> bool {
    matches!(statement, Statement::Statement(sql) if matches!(sql.as_ref(), Sql::Query(_)))
}

/// Checks what a plan costs to plan further.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<(), Error> {
    let (mut expressions, mut joins, mut unions, mut refused) = (0usize, 0usize, 0usize, None);
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Join(_) => joins += 1,
            LogicalPlan::Union(union) => unions += union.inputs.len(),
            LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::RecursiveQuery(_) => refused = Some(node.display().to_string()),
            _ => {}
        }
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                expressions += 1;
                if let Expr::InList(list) = e {
                    expressions = expressions.saturating_sub(list.list.len());
                }
                if expressions > limits::EXPRESSIONS * 4 {
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(Error::from)?;
    if let Some(node) = refused {
        return Err(Error::BadQuery(format!("{node} is no query")));
    }
    // A view's own columns count as well: four times what a user's text may have.
    if expressions > limits::EXPRESSIONS * 4 {
        return Err(limit("expressions", format!("{} parts", limits::EXPRESSIONS), "ask in several queries"));
    }
    if joins > limits::JOINS {
        return Err(limit("JOIN", format!("{} joins", limits::JOINS), "ask in several queries"));
    }
    if unions > limits::UNIONS {
        return Err(limit("UNION", format!("{} parts", limits::UNIONS), "ask in several queries"));
    }
    Ok(())
}

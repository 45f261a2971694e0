#!/usr/bin/env python3
"""How well explanations name the culprit, through the product's own doors.

  evaluate.py DEVMESH DATA OUT [--only ID,ID]

DEVMESH is the program, DATA a directory with labelled cases: rca/cases, rca/ground_truth.json, tools/replay.py (feeds a case over
OTLP and asks /explain/incident) and tools/score.py. Each case meets a server of its own with an empty directory. OUT gets the
answers in score.py's form. Anomalies are switched off: they have nothing to do with it, and cost time.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile


def serve(devmesh, directory):
    """A server with an empty directory, and its doors."""
    doors = ["--http", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--otlp-grpc", "off", "--postgres", "off"]
    command = [devmesh, "serve", "--data-dir", os.path.join(directory, "data"), *doors, "--set", "anomalies.enabled=false"]
    with open(os.path.join(directory, "log"), "wb") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    listening = {}
    for line in server.stdout:
        if line.strip() == "ready":
            return server, listening
        _, door, address = line.split()
        listening[door] = address
    with open(os.path.join(directory, "log"), encoding="utf-8") as log:
        sys.exit(f"the server did not start: {log.read()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devmesh")
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    cases = os.path.join(args.data, "rca", "cases")
    tools = os.path.join(args.data, "tools")
    wanted = [case for case in args.only.split(",") if case] or sorted(os.listdir(cases))
    answers = {}
    for case in wanted:
        with tempfile.TemporaryDirectory() as directory:
            server, doors = serve(args.devmesh, directory)
            try:
                predicted = os.path.join(directory, "predicted.json")
                replay = [sys.executable, os.path.join(tools, "replay.py"), cases, predicted, "--only", case]
                replay += ["--otlp", "http://" + doors["otlp-http"], "--wait", "3"]
                replay += ["--explain", f"http://{doors['http']}/explain/incident"]
                subprocess.run(replay, check=True)
                with open(predicted, encoding="utf-8") as file:
                    answers.update(json.load(file))
            finally:
                server.terminate()
                server.wait()
    with open(args.out, "w", encoding="utf-8") as file:
        json.dump(answers, file, indent=1)
    with open(os.path.join(args.data, "rca", "ground_truth.json"), encoding="utf-8") as file:
        truth = json.load(file)
    with tempfile.TemporaryDirectory() as directory:
        judged = os.path.join(directory, "truth.json")
        with open(judged, "w", encoding="utf-8") as file:
            json.dump({case: truth[case] for case in wanted}, file)
        score = [sys.executable, os.path.join(tools, "score.py"), "rca", judged, args.out, "--cases", cases]
        subprocess.run(score, check=True)


if __name__ == "__main__":
    main()

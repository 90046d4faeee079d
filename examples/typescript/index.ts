import * as pulumi from "@pulumi/pulumi";
import { Postgres } from "@pulumi/stateful-postgres";

const config = new pulumi.Config();

const postgres = new Postgres("postgres", {
    namespace: config.get("namespace"),
    replicas: config.getNumber("replicas"),
    // With true, replicas may be up to 9: see README.md, "High availability".
    highAvailability: config.getBoolean("highAvailability"),
    image: config.get("image"),
    parameters: { max_connections: 50, log_checkpoints: true },
    resources: { requests: { memory: "256Mi" } },
});

export const namespace = postgres.namespace;
export const service = postgres.service;
export const nodePort = postgres.nodePort;
export const connectionUri = postgres.connectionUri;
export const replicasService = postgres.replicasService;
export const password = postgres.password;

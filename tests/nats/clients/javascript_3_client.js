// Does what programs do with the package @nats-io/transport-node of npm: javascript_3_client.js HOST PORT STEP...
"use strict";

// JetStream is in another package; this is its first request.
const jetStream = (client) => client.request("$JS.API.INFO");
require("./javascript_steps.js")(require("@nats-io/transport-node"), jetStream);

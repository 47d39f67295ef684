"""What ``mlflow deployments -t hybridmodel:…`` does; MLflow loads `mlflow_plugin` beside this.

::

    FOLDER/                         the target hybridmodel:FOLDER
      digits/                       a deployment by itself: what `hybridmodel export` writes
        deployment.json             what it was made of, and the files that it has
        models/…
      digits-ep/                    an endpoint
        endpoint.json               its traffic and mirror
        endpoint.yml                for Azure
        blue-deployment.yml         a deployment of it, for Azure
        blue/                       its files
          deployment.json
          models/…
"""
